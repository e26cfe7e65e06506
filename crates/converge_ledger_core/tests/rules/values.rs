//! Hashes as text, names, limits, and the Lamport clock.

use converge_ledger_core::entry::NumberField;
use converge_ledger_core::lamport::MAX_LEAP;
use converge_ledger_core::limits::{check_text, MAX_NUMBER};
use converge_ledger_core::{
    Content, Entry, EntryError, Hash, LamportError, LamportTime, TextError, TextField, Tree,
};

const PLAIN: Entry<'static> = Entry {
    context: "c",
    sequence: 1,
    lamport: 1,
    origin: "o",
    appended_at: 0,
    key: "",
    id: "",
    content: Content::Whole {
        payload: b"",
        metadata: "{}",
        salt: &[0; 16],
    },
};

#[test]
fn a_hash_has_one_text() {
    let hash = Hash::from_bytes(core::array::from_fn(|place| place as u8 * 7));
    let text = hash.to_string();
    assert_eq!(text.len(), 64);
    assert!(text.starts_with("00070e151c23"));
    assert_eq!(Hash::from_hex(&text), Some(hash));
    for other in [
        &text.to_uppercase(),
        &text[..62],
        &format!("{text}00"),
        "",
        &text.replace('0', "g"),
    ] {
        assert_eq!(Hash::from_hex(other), None, "{other}");
    }
    // A character of several bytes where a digit should be.
    assert_eq!(Hash::from_hex(&format!("é{}", &text[2..])), None);
    assert_eq!(Hash::from_slice(hash.as_ref()), Some(hash));
    assert_eq!(Hash::from_slice(&[0; 31]), None);
    assert_eq!(Hash::from_slice(&[0; 33]), None);
}

#[test]
fn a_tree_is_known_by_its_name() {
    for tree in [Tree::Bitcoin, Tree::Rfc6962] {
        assert_eq!(tree.as_str().parse(), Ok(tree));
    }
    for unknown in ["", "Bitcoin", "rfc9162", "bitcoin "] {
        let error = unknown.parse::<Tree>().unwrap_err();
        assert_eq!(error.to_string(), "a tree is named bitcoin or rfc6962");
    }
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Tree::Bitcoin.empty_root().to_string(), empty);
    assert_eq!(Tree::Rfc6962.empty_root().to_string(), empty);
}

#[test]
fn text_fields_have_limits_in_bytes() {
    let fields = [
        (TextField::Context, 1, 512),
        (TextField::Origin, 1, 63),
        (TextField::Key, 0, 512),
        (TextField::Id, 0, 128),
        (TextField::Reason, 1, 1024),
    ];
    for (field, least, most) in fields {
        assert_eq!((field.min_bytes(), field.max_bytes()), (least, most));
        assert_eq!(check_text(field, &"x".repeat(most)), Ok(()));
        let too_long = TextError::TooLong {
            field,
            bytes: most + 1,
            limit: most,
        };
        assert_eq!(check_text(field, &"x".repeat(most + 1)), Err(too_long));
        let expected = format!(
            "{} has {} bytes, the limit is {most}",
            field.name(),
            most + 1
        );
        assert_eq!(too_long.to_string(), expected);
        // Two bytes each: what counts is bytes.
        let wide = "é".repeat(most / 2 + 1);
        let too_wide = TextError::TooLong {
            field,
            bytes: wide.len(),
            limit: most,
        };
        assert_eq!(check_text(field, &wide), Err(too_wide));
        let empty = check_text(field, "");
        assert_eq!(
            empty,
            if least == 0 {
                Ok(())
            } else {
                Err(TextError::Empty { field })
            }
        );
    }
}

#[test]
fn text_fields_hold_no_control_characters() {
    let field = TextField::Context;
    for code in (0..=0x1f).chain([0x7f]) {
        let error = TextError::ControlCharacter {
            field,
            byte: code,
            position: 3,
        };
        assert_eq!(
            check_text(field, &format!("éa{}b", char::from(code))),
            Err(error)
        );
    }
    assert_eq!(check_text(field, " ~\u{80}\u{85}\u{a0}\u{2028}🙂"), Ok(()));
    let error = check_text(field, "one\ntwo").unwrap_err();
    let expected = "context contains the control character U+000A at position 4";
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.field(), field);
}

#[test]
fn an_entry_outside_the_limits_is_refused() {
    assert_eq!(PLAIN.check(), Ok(()));
    let out = |field, value| Err(EntryError::OutOfRange { field, value });
    for value in [0, -1, i64::MIN, MAX_NUMBER + 1, i64::MAX] {
        let check = Entry {
            sequence: value,
            ..PLAIN
        }
        .check();
        assert_eq!(check, out(NumberField::Sequence, value));
        let check = Entry {
            lamport: value,
            ..PLAIN
        }
        .check();
        assert_eq!(check, out(NumberField::Lamport, value));
    }
    for value in [-1, MAX_NUMBER + 1] {
        let check = Entry {
            appended_at: value,
            ..PLAIN
        }
        .check();
        assert_eq!(check, out(NumberField::AppendedAt, value));
    }
    let highest = Entry {
        sequence: MAX_NUMBER,
        lamport: MAX_NUMBER,
        appended_at: MAX_NUMBER,
        ..PLAIN
    };
    assert_eq!(highest.check(), Ok(()));
    for key in ["$takeover", "$erase", "$resolve", "takeover$"] {
        assert_eq!(Entry { key, ..PLAIN }.check(), Ok(()));
    }
    for key in ["$", "$Erase", "$erase "] {
        assert_eq!(
            Entry { key, ..PLAIN }.check(),
            Err(EntryError::UnknownControlKey)
        );
    }
    for field in ["context", "origin", "key", "id"] {
        let mut entry = PLAIN;
        *match field {
            "context" => &mut entry.context,
            "origin" => &mut entry.origin,
            "key" => &mut entry.key,
            _ => &mut entry.id,
        } = "\u{1}";
        let error = entry.check().unwrap_err().to_string();
        assert_eq!(
            error,
            format!("{field} contains the control character U+0001 at position 1")
        );
    }
}

#[test]
fn content_outside_the_limits_is_refused() {
    let with = |payload: &[u8], metadata: &str| {
        let content = Content::Whole {
            payload,
            metadata,
            salt: &[0; 16],
        };
        Entry { content, ..PLAIN }.check()
    };
    let largest = vec![0; 64 << 20];
    assert_eq!(with(&largest, "{}"), Ok(()));
    let too_large = [&largest[..], &[0]].concat();
    let bytes = too_large.len();
    assert_eq!(
        with(&too_large, "{}"),
        Err(EntryError::PayloadTooLong { bytes })
    );
    let metadata = |length: usize| format!("{{\"a\": \"{}\"}}", "x".repeat(length - 9));
    assert_eq!(with(b"", &metadata(65_536)), Ok(()));
    let bytes = 65_537;
    assert_eq!(
        with(b"", &metadata(bytes)),
        Err(EntryError::MetadataTooLong { bytes })
    );
    for metadata in ["", "null", "[]", "\"{}\"", "{"] {
        assert_eq!(
            with(b"", metadata),
            Err(EntryError::MetadataNotObject),
            "{metadata}"
        );
    }
}

#[test]
fn every_field_changes_the_leaf() {
    let salt = [1; 16];
    let content = |payload, metadata, salt| Content::Whole {
        payload,
        metadata,
        salt,
    };
    let variants = [
        PLAIN,
        Entry {
            context: "d",
            ..PLAIN
        },
        Entry {
            sequence: 2,
            ..PLAIN
        },
        Entry {
            lamport: 2,
            ..PLAIN
        },
        Entry {
            origin: "p",
            ..PLAIN
        },
        Entry {
            appended_at: 1,
            ..PLAIN
        },
        Entry { key: "k", ..PLAIN },
        Entry { id: "k", ..PLAIN },
        Entry {
            content: content(b"x", "{}", &[0; 16]),
            ..PLAIN
        },
        Entry {
            content: content(b"", "{ }", &[0; 16]),
            ..PLAIN
        },
        Entry {
            content: content(b"", "{}", &salt),
            ..PLAIN
        },
        Entry {
            content: content(b"{", "}", &[0; 16]),
            ..PLAIN
        },
        Entry {
            content: Content::Digest(Hash::from_bytes([0; 32])),
            ..PLAIN
        },
    ];
    let leaves: std::collections::BTreeSet<Hash> =
        variants.iter().map(|entry| entry.leaf_hash()).collect();
    assert_eq!(leaves.len(), variants.len());
    let erased = Entry {
        content: Content::Digest(PLAIN.content_digest()),
        ..PLAIN
    };
    assert_eq!(erased.leaf_hash(), PLAIN.leaf_hash());
}

#[test]
fn the_clock_ticks_and_merges() {
    let at = |time| LamportTime::new(time).ok();
    let observe = |previous, received| LamportTime::observe(at(previous), received, MAX_NUMBER);
    assert_eq!(LamportTime::tick(None).map(LamportTime::get), Ok(1));
    assert_eq!(LamportTime::tick(at(41)).map(LamportTime::get), Ok(42));
    assert_eq!(observe(0, 0).map(LamportTime::get), Ok(1));
    assert_eq!(observe(7, 3).map(LamportTime::get), Ok(8));
    assert_eq!(observe(7, 7).map(LamportTime::get), Ok(8));
    assert_eq!(observe(7, 30).map(LamportTime::get), Ok(31));
    assert!(at(2) > at(1));
}

#[test]
fn the_clock_neither_leaps_nor_wraps() {
    let at = |time| LamportTime::new(time).ok();
    let observe = |previous, received| LamportTime::observe(at(previous), received, MAX_NUMBER);
    assert_eq!(
        observe(5, 5 + MAX_LEAP).map(LamportTime::get),
        Ok(6 + MAX_LEAP)
    );
    let received = 6 + MAX_LEAP;
    let too_far = LamportError::ReceivedTooFar {
        received,
        local: 5,
        limit: 5 + MAX_LEAP,
    };
    assert_eq!(observe(5, received), Err(too_far));
    let text = "received Lamport time 1099511627782 is beyond 1099511627781, the local time is 5";
    assert_eq!(too_far.to_string(), text);
    assert_eq!(observe(0, MAX_LEAP).map(LamportTime::get), Ok(MAX_LEAP + 1));
    let limit = MAX_LEAP;
    let too_far = LamportError::ReceivedTooFar {
        received: i64::MAX,
        local: 0,
        limit,
    };
    assert_eq!(observe(0, i64::MAX), Err(too_far));
    for received in [-1, i64::MIN] {
        assert_eq!(
            observe(5, received),
            Err(LamportError::ReceivedNegative { received })
        );
    }
    // However often it leaps, a clock does not run away from the wall clock.
    let now = 1_800_000_000_000_000;
    let mut local = 0;
    while let Ok(time) = LamportTime::observe(at(local), local + MAX_LEAP, now) {
        local = time.get();
    }
    assert!(local > now && local <= now + MAX_LEAP + 1);
    assert!(LamportTime::observe(at(local), now + MAX_LEAP + 2, now).is_err());
    assert_eq!(
        LamportTime::observe(at(local), local, now).map(LamportTime::get),
        Ok(local + 1)
    );
    let last = MAX_NUMBER;
    assert_eq!(
        LamportTime::tick(at(last - 1)).map(LamportTime::get),
        Ok(last)
    );
    assert_eq!(
        LamportTime::tick(at(last)),
        Err(LamportError::Exhausted { previous: last })
    );
    assert_eq!(
        observe(last - 5, last),
        Err(LamportError::Exhausted { previous: last })
    );
    for time in [0, -1, last + 1, i64::MIN] {
        assert_eq!(
            LamportTime::new(time),
            Err(LamportError::OutOfRange { time })
        );
    }
}
