-- The vectors of format 1 as rows: entries that another program hashed arrive complete, are verified and accepted, and
-- have the roots of the vectors at every size, an erased entry and its $erase included.

begin;
create temp table vector (
    sequence bigint, lamport bigint, appended_at bigint, key text, id text,
    payload text, metadata text, salt text, leaf_hash text, content_digest text
);
copy vector from stdin (null 'null', delimiter '|');
1|1|0|traces||c27378a661c935187c07e4d5636e9bc3c400b27244b8cd3a97f11ae651070506|{}|f0e161af37f86cb9078738c370f07e8d|cadab571026254943b45225e448c713f922545f34ecfe1db6a6a08b447c11c3f|null
2|2|1000|intents||75f34aed056ad6ea8eeca4192fa1feb9dc4b1ebe55e5b8f9b680eff76c81d4e9ab304d4896f9e17fd8f0816496da087a3ebecc676aaa2c5d8ce1b3c6acbc5f1670a9821bc72985d7645e7dbb07780b4eb4d9fb9d979464a52b2b803afb03c5338aebdc8c|{"agent": "analyst", "cycle": "3"}|678358f3d8935a75e844a88c9bf5ba01|68a4ddb98904bc3ef3f2a4def3f15fdf4827776d40e5b3c16426db2d7529ea3e|null
3|9|1001|evals||f30e7bde5d918d33f081697cd05b6a5800898a9fc99c54759907cd3aa22d8c95|{"agent": "analyst", "cycle": "3"}|dc17cc8dccd9d1ee4108d7f1ac1215de|b7f091032eb98a515b5526f5e09dcd41b6208d402f9e7e5655032c8a03c5a68c|null
4|10|124457|facts|req-4|44|{}|cc9f2f584a112a284187f32ba845a5b6|0a6440c19653740056187a70b9c44940f3290612614a3fd810122c51a5f6e110|null
5|11|247913||req-5|791d064f62576bcb30421b40e6ba82fa35f79b6ed1f9053904652509b8f52972|{"q": "\\"\\\\\\n", "big": 123456789012345678901234567890.10}|8bd538faf9a1ccb184733986a60765ac|1bd7dda1704afca0a0ae046b47fe659976ad35da0193a913921df65e5a619804|null
6|8589934603|248913||ü6||{"a": 1, "b": [1.50, null, true], "ä": "ü"}|20f736e00c4e12db134feaf04cbe286a|06014893a7824a3a53f527ae0840b17efeece9b1826d6fba9143b764dca081db|null
7|17179869195|249913|intents||e0d90997d137f6e691752bd3dedef9c7b49f8209603358193492ace56e97317e1a|{"q": "\\"\\\\\\n", "big": 123456789012345678901234567890.10}|4b817f04539cdf66e648042833db53cf|724d32c6924e2b58afdf9f7ecb2259d92eab59706143ae62ce0b4300fbbc9f8e|null
8|25769803787|249914|traces|ü8|44|{}|d661ee8c58eae1d6af887cc4fc883c10|1133b19551530901cb447767dbe2a90aabba90cb937caaedf44c370ae4a00e85|null
9|25769803788|249914|intents||e9|{"agent": "analyst", "cycle": "3"}|44c2559981d7415e56571d4a3cdef19a|fabef0e8274eaee728bfdb8757fd42eb6c1574474fc292fc56a559a625599c55|null
10|25769803795|249915|evals||0a681261ddfdc925d420571d9d96c8ed6013928c399014f3445de44b9088ec|{}|75e5461bc90bd34b039dab0317691dd3|67feda02b5cd175360fc4911bfb52668e6f9c520708ce3b901327525f5919479|null
11|25769803796|249916|intents|ü11|1d|{"q": "\\"\\\\\\n", "big": 123456789012345678901234567890.10}|2aae3d28bed81a6fe9f660cef88ae8d1|4474dbc682553579e193e412dd71b346439f39ea84ae9e08d9349fef9d113b75|null
12|25769803797|250916||ü12|1935a6510a0602c9fbec4bb99851736450661010e951f899f8741c4037c89e|{"q": "\\"\\\\\\n", "big": 123456789012345678901234567890.10}|a95b422e8a354e323f5c14d14716fbc0|4904d33e8c9606522902268ee561b882a891de5b028e3edfc4035737f6be6b58|null
13|25769803804|250916||req-13|63|{"a": 1, "b": [1.50, null, true], "ä": "ü"}|0a532f51cad894e4eb4d3e55198b9c94|a961f1eb76bdef2ac1cc9f8bdeb9f9e2e974ed5448132232b790b4f70f974966|null
14|34359738396|250916|intents|||{"agent": "analyst", "cycle": "3"}|6612448dde12ba1305a2024ac0ca5b7e|a2f5acc8a6f4a18187ee989698d2f9c920b14097e28b0d2b708aedc54498456a|null
15|34359738403|250917|facts|req-15||{"agent": "analyst", "cycle": "3"}|2dc626fc24d2dd514e1bb583d5eb9a4b|53e7b6bf94bf2ab8923e190681a071afd492418280657a4774f26fd793cadb9e|null
16|34359738404|250918|intents||50d2e79fcdace88dd7f1bffcb0342d4c6e89280cb6dcaa3f40c710aef672ce6e8c408a70d989740265d6562b427c06cba5ee6af992040fb15a942397202342fbd4466590662c9c163b7c012d875180e4a6eb70eeafa3bb393d507eaf7af439b669568f9c|{"a": 1, "b": [1.50, null, true], "ä": "ü"}|f8a5380ceb12c382a5e05e2882c4cae2|fff9e3951385d490a806e24f91ccfcba4523988d0b746ac3d0cd420aff1c355c|null
17|34359738405|251918|traces|req-17|8d5f2ab3b3bc769815db1fe59bf58392602d27406d37f191b8c1c80d7eae64b7a3596283d82a8bbafe0a86fb17ce41a01944bce915f5f923f8c69dd7f7a8afb31471d9ec3df8d961f0cde76e652ae85370209fe87cf5361e6e998868e81ea94b473f60bf|{}|f5308770940507a0f99b3ed542342c48|47732e904d878874501c6d5c735a55d53b5ebda83e6ae3db9a3960fa081d06d8|null
18|34359738406|251919|traces|req-18|c140d5ae72cadccfdaf92b8b5b7d6bdb1fc43592e1623448cf1be7ce061e91bf03|{"a": 1, "b": [1.50, null, true], "ä": "ü"}|f7acc2b9f9a62213805f92ce4f6f80ad|37b012a42fcec811c683aa9193987306d23acb9178817236f80f4e0806c114f5|null
19|34359738407|252919|facts||b773594e8a6656c8bbae927e1ca5ea6061348e00fe47a299b8e1bdd4ba8232fc|{"q": "\\"\\\\\\n", "big": 123456789012345678901234567890.10}|99d58468efbeb6fcfc4eb32b739eab87|7dc88bed9ba9e1b63ade0fea11d8a52d95337af26f0c202097440b2aa769b175|null
20|34359738408|253919|evals||null|null|null|8d76111c1c6ef5f87746f281c216d65c16ab763538988ff2961527dca0284d46|77f455d305ab4892b67a29ba93d3d667851305d57037ad025311b08c04e3ca2c
21|34359738415|254919|$erase||7b22657261736564223a5b7b2273657175656e6365223a32302c226c656166223a2238643736313131633163366566356638373734366632383163323136643635633136616237363335333839383866663239363135323764636130323834643436227d5d2c22726561736f6e223a2272657175657374203137227d|{}|3ce255441113b2d4e985a85e77828ebc|f4b869c6d9a3c94a0453a6ebaf659e38c648c9fc382b4d1767124fca889ed2a4|null
\.
insert into converge_ledger.entries (context_id, origin, sequence, lamport, appended_at, format, key, id,
    payload, metadata, salt, leaf_hash, content_digest)
select 'Ünïcødé / ctx 🙂', 'nœud b', sequence, lamport, timestamptz 'epoch' + appended_at * interval '1 microsecond', 1,
       key, id, decode(payload, 'hex'), metadata::jsonb, decode(salt, 'hex'), decode(leaf_hash, 'hex'), decode(content_digest, 'hex')
  from vector order by sequence;
select count(*), count(e.content_digest) as erased, bool_and(e.metadata::text is not distinct from v.metadata) as metadata
  from ledger_get('Ünïcødé / ctx 🙂') as e join vector as v using (sequence);

create temp table root (size int, bitcoin text, rfc6962 text);
copy root from stdin (delimiter '|');
0|e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855|e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
1|0c83e533c0550854742a03e39ba2409eae3a9ad9e7a38e0d929229132f07a56b|cadab571026254943b45225e448c713f922545f34ecfe1db6a6a08b447c11c3f
2|91e198b207f7ea05fd93c6ed2c894b1bb122f67bc8fc6919e07000669c4bd1ad|9baee36254be9b7433f125f164ccc3b1822c1fe7ecd2fed34178cdc54d8f603d
3|02ad57b9d7a7c3044092442e06651b497b95615640ad2489040896c7a259a868|55e233d65b391ceb7599ad7c8b78c07ea3187601f5a08cb488c556d6c425fbde
4|4109487fdf5cda005da3df25db8d272953fd2a051b58e04d3aa572accc4f01b7|3b42fa9235284cb2f5bab79e8d08a2e30931302f65ffadd0d75909b986775481
5|e670757151957cf8cba57fae223bcc6afb8752839097cc9ac05546d9cb251534|d67a13e31f06769857d6acb8450c44a88d901d725cbb48a2ad9d687405e6d524
6|8ea002534d4301a962b45923b1ace18a941f15122a243e836a7eb397ef5e2e38|2a318ca2dff2ef683e4803c79f092d1221e27d67ef1702e1fcaba3df7174a900
7|2e1c1cf6dbec1be1488fafbc7eb212a8688f14a238192bb51e9cf68ac9c10a2a|56a67d6ed925ec28e7d8921ce8d41907187ebaf8f95714c57ddc5d4cf798ede8
8|b34dbbed7ca12092feaaea07741e95ccb30c2c7a6a665b3a2805dedb518b7d25|843a2ded95f042308129013944f97e61114806e0dd38be197d71e06c50cc153c
9|c4707545be1de47fc9e7e942bb2d6133c7fcb597c9962b507acd75bff99e52d0|dba46f08751d63a0a6735cef11d02e4287ac6711a6110923c80630f422e26bbc
10|03241c480461b188df0f5fe49e3d0a789206b631a6573d816c7ac4f76ca63c5a|41cc33648aeecf51e7638c88c2f58e5ca2e95be8c237379942a395e7517535e5
11|074adac98386375393e229999dfc88bbce33eb624e627bb6153a02ca54eae002|94cad228d68ba3d3f41a65c9892104b9424a473d273c9141539ea5aeb6ca74e0
12|3e769697fd894e481b900c1e86b6c7c362c7255cf61b158f2a48d7455064394a|4199a5a45c6fa5d78b2141a0cd12e57030dcb45fcb8528a30bb1e20e5714460e
13|85ce17c70b9369281f4bffdbac537c9843da0e2aa0a3a8c6806544d11437d9a6|0667d9f912e28afe1d502de650237df3c883968f585f166d64b4895e8f854f27
14|32a7f2cdcfc6c076df958de466e40590799ca8b2a78825ee85bf77fc3b3d5e95|73f4cfa44195086a2968e050b2b324f0ef2317b5ba0cae4b279327d4961772cc
15|cccc6339287a27ded0b4dbb2a9a9aad39f37681973f162c8eca9e914a96ae6c2|7bbaeac03d823d84212f05f488da917a49c3217afa60bbb73658363b2adad9d1
16|a728b95194036d1f7d6eb26f7af003f99f763a74d1040274776e485620903473|3e9b162ce356c1bf8e66c73b9a43cc46072c7281ab56c51c36d5b4f31cb92e79
17|15b00692e3ba37f226d77c41498bf75182a1bf4e93eea0a6ac23010cd67ef775|d5d7b42730bc39a642be6cd18cfe8a2a6d22172da7c9457795c8e8e3a448ed4a
18|5bfdf580a2fa4e51a5f898a33e8f6610cd7622086d80b7bf593ecb080e3607de|28007548abb852570a81ea3ec08cfa3f6ec288508fad706b3115f104ccdf6fac
19|38c0ef9c97d25db4992722427ccce4310c2d5c9ba6116bcddcd49b68063d23e1|4d520b8d53b9861f4010ce73930b6836e5d70b107af6a82afd0ce3f563f673d7
20|968be29c29d8e939bede71253a9ab38c6f1775842117b82960ef2d7af45ea36e|2e4eed8b7f8a7efb240cce363b7063f9c9608cc652d18e92e3c6dc81a8ecd619
21|ba1b980210acd9e68d84cba1f28449090fe11974b03d0e14f124ec7a434a223a|976574fbad84a4c264cd6e8ff9f90165d1a4274efc7c123a483bc1f3e3d724f3
\.
select count(*), bool_and(encode(ledger_root('Ünïcødé / ctx 🙂', size), 'hex') = bitcoin) as bitcoin,
       bool_and(encode(ledger_root('Ünïcødé / ctx 🙂', size, 'rfc6962'), 'hex') = rfc6962) as rfc6962
  from root;

-- Every entry can be proved in every tree that it is in, with its content and without.
select with_content, count(*), bool_and(ledger_verify_proof(
           ledger_proof('Ünïcødé / ctx 🙂', sequence, size, tree, with_content), size,
           decode(case tree when 'bitcoin' then bitcoin else rfc6962 end, 'hex'))) as verifies
  from root, unnest(array['bitcoin', 'rfc6962']) as tree, unnest(array[true, false]) as with_content,
       generate_series(1, size) as sequence
 group by with_content order by with_content;
-- The erased one shows its digest either way.
select ledger_proof('Ünïcødé / ctx 🙂', 20)->'entry' = ledger_proof('Ünïcødé / ctx 🙂', 20, with_content => false)->'entry' as same,
       ledger_proof('Ünïcødé / ctx 🙂', 20)->'entry'->>'content_digest' = content_digest as digest
  from vector where sequence = 20;
select ledger_verify_consistency(ledger_consistency('Ünïcødé / ctx 🙂', o.size, n.size), o.size, decode(o.rfc6962, 'hex'),
           n.size, decode(n.rfc6962, 'hex')) as verifies, count(*)
  from root as o, root as n where o.size between 1 and n.size group by 1;
select * from ledger_check('Ünïcødé / ctx 🙂');
rollback;
