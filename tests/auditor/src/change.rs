//! Changes to the text of a proof: a systematic list, and random changes.

use crate::json::Json;

/// The members of an object, in their order.
type Members = Vec<(String, Json)>;
/// The path to a value inside another: numbers of members and items, from the outside.
type Place = Vec<usize>;

/// One text for each change of the list. Most of them are still JSON. `others` are proofs from which values are taken.
pub fn every_change(text: &str, others: &[&str]) -> Vec<String> {
    let proof = Json::parse(text).expect("JSON");
    let others: Vec<_> = others.iter().filter_map(|text| Json::parse(text)).collect();
    let mut changed = Vec::new();
    for place in places(&proof) {
        let value = at(&proof, &place).expect("a place of it");
        let borrowed = others.iter().filter_map(|other| at(other, &place).cloned());
        for other in variants(value).into_iter().chain(borrowed) {
            let mut copy = proof.clone();
            *at_mut(&mut copy, &place).expect("a place of it") = other;
            changed.push(copy.write());
        }
    }
    for space in [" ", "\n", "\t", "\r", "\u{a0}", "\u{feff}", ",", "{}"] {
        changed.extend([format!("{space}{text}"), format!("{text}{space}")]);
    }
    changed
}

/// The text with one to three random changes of values or characters. `below` returns a random number below its argument.
pub fn random_change(text: &str, others: &[&str], below: &mut dyn FnMut(usize) -> usize) -> String {
    let mut changed = text.to_owned();
    for _ in 0..=below(3) {
        changed = match Json::parse(&changed) {
            Some(proof) if below(3) > 0 => change_value(proof, others, below).unwrap_or(changed),
            _ => change_characters(&changed, below),
        };
    }
    changed
}

fn change_value(
    mut proof: Json,
    others: &[&str],
    below: &mut dyn FnMut(usize) -> usize,
) -> Option<String> {
    let places = places(&proof);
    let place = &places[below(places.len())];
    // A value from elsewhere in the proof, from another proof, or a variant.
    let other = match below(4) {
        0 => at(&proof, &places[below(places.len())])?.clone(),
        1 if !others.is_empty() => {
            let other = Json::parse(others[below(others.len())])?;
            at(&other, place)?.clone()
        }
        _ => {
            let mut variants = variants(at(&proof, place)?);
            variants.swap_remove(below(variants.len()))
        }
    };
    *at_mut(&mut proof, place)? = other;
    Some(proof.write())
}

fn change_characters(text: &str, below: &mut dyn FnMut(usize) -> usize) -> String {
    const WRITTEN: &[u8] = b"0123456789abcdefABCDEF\"{}[],:\\.-+eEu \n";
    let mut characters: Vec<char> = text.chars().collect();
    if characters.is_empty() {
        return String::from("{");
    }
    let place = below(characters.len());
    let end = (place + below(70)).min(characters.len());
    match below(6) {
        0 => characters[place] = char::from(below(128) as u8),
        1 => characters[place] = char::from(WRITTEN[below(WRITTEN.len())]),
        2 => characters.insert(place, char::from(WRITTEN[below(WRITTEN.len())])),
        3 => drop(characters.drain(place..end)),
        4 => {
            let part: Vec<_> = characters[place..end].to_vec();
            characters.splice(place..place, part);
        }
        _ => {
            let other = below(characters.len());
            characters.swap(place, other);
        }
    }
    characters.into_iter().collect()
}

/// The paths to all values in a value, including the value itself.
fn places(json: &Json) -> Vec<Place> {
    let mut found = vec![Vec::new()];
    for (number, inner) in children(json).enumerate() {
        found.extend(places(inner).into_iter().map(|mut place| {
            place.insert(0, number);
            place
        }));
    }
    found
}

fn children(json: &Json) -> Box<dyn Iterator<Item = &Json> + '_> {
    match json {
        Json::Array(items) => Box::new(items.iter()),
        Json::Object(members) => Box::new(members.iter().map(|(_, value)| value)),
        _ => Box::new(std::iter::empty()),
    }
}

fn at<'a>(json: &'a Json, place: &[usize]) -> Option<&'a Json> {
    place
        .iter()
        .try_fold(json, |json, number| children(json).nth(*number))
}

fn at_mut<'a>(json: &'a mut Json, place: &[usize]) -> Option<&'a mut Json> {
    place.iter().try_fold(json, |json, number| match json {
        Json::Array(items) => items.get_mut(*number),
        Json::Object(members) => members.get_mut(*number).map(|(_, value)| value),
        _ => None,
    })
}

/// Other values, or the same value written in another way.
fn variants(value: &Json) -> Vec<Json> {
    let written = value.write();
    let mut found = vec![
        Json::Null,
        Json::Bool(true),
        Json::Text(String::new()),
        Json::Array(Vec::new()),
        Json::Object(Vec::new()),
        Json::Array(vec![value.clone()]),
        Json::Object(vec![("value".to_owned(), value.clone())]),
        Json::Written(String::new()),
        Json::Written(format!(" {written}\n")),
        Json::Text(written),
    ];
    match value {
        Json::Number(digits) => numbers(digits, &mut found),
        Json::Text(text) => texts(text, &mut found),
        Json::Array(items) => arrays(items, &mut found),
        Json::Object(members) => objects(members, &mut found),
        _ => {}
    }
    found
}

fn numbers(digits: &str, found: &mut Vec<Json>) {
    let value: u128 = digits.parse().unwrap_or(0);
    let values = [
        0,
        1,
        value + 1,
        value.saturating_sub(1),
        value * 2,
        value ^ 2,
        (1 << 32) + value,
        (1 << 53) - 1,
        1 << 53,
        (1 << 53) + value,
        (1 << 63) - 1,
        1 << 63,
        (1 << 64) - 1,
        (1 << 64) + value,
    ];
    let forms = [
        format!("{digits}.0"),
        format!("{digits}e0"),
        format!("{digits}E+0"),
        format!("{digits}0e-1"),
        format!("-{digits}"),
        format!("+{digits}"),
        format!("0{digits}"),
        format!("0x{digits}"),
        format!("{digits}."),
        format!("{digits}e400"),
        "-0".to_owned(),
        "1e0".to_owned(),
        "NaN".to_owned(),
    ];
    found.extend(values.map(|value| Json::Number(value.to_string())));
    found.extend(forms.map(Json::Number));
}

fn texts(text: &str, found: &mut Vec<Json>) {
    let mut more = vec![
        format!("{text}0"),
        format!("{text}00"),
        format!("{text} "),
        format!("0{text}"),
        format!("0x{text}"),
        format!("\\x{text}"),
        format!("{text}{text}"),
        text.to_uppercase(),
        text.chars().rev().collect(),
        text.chars().skip(1).collect(),
        text.chars().skip(2).collect(),
        format!("{text}\0"),
        format!("{text}\u{7f}"),
        format!("{text}\u{301}"),
        text.replace('a', "\u{430}"),
        "x".repeat(520),
        "$takeover".to_owned(),
        "$unknown".to_owned(),
        "bitcoin".to_owned(),
        "rfc6962".to_owned(),
    ];
    let characters: Vec<char> = text.chars().collect();
    for number in 0..characters.len().min(200) {
        // Another digit, and a letter of the other case.
        for flip in [0x01, 0x20] {
            let mut changed = characters.clone();
            changed[number] = char::from_u32(u32::from(changed[number]) ^ flip).unwrap_or('?');
            more.push(changed.into_iter().collect());
        }
    }
    found.extend(more.into_iter().map(Json::Text));
    let escaped = |character: char| {
        let mut units = [0; 2];
        let units = character.encode_utf16(&mut units).iter();
        units
            .map(|unit| format!("\\u{unit:04x}"))
            .collect::<String>()
    };
    let all: String = text.chars().map(escaped).collect();
    found.extend([
        // The same text.
        Json::Written(format!("\"{all}\"")),
        Json::Written(format!("\"{}\"", all.to_uppercase().replace("\\U", "\\u"))),
        // Half a character, and none.
        Json::Written(format!("\"{all}\\ud83d\"")),
        Json::Written(format!("\"{all}\\ude42\"")),
        Json::Written(format!("\"{all}\\x\"")),
        Json::Written(format!("\"{all}\n\"")),
        Json::Written(format!("'{text}'")),
        Json::Written(format!("\"{all}")),
    ]);
}

fn arrays(items: &[Json], found: &mut Vec<Json>) {
    let mut more = Vec::new();
    for number in 0..items.len() {
        let mut change = |change: &dyn Fn(&mut Vec<Json>)| {
            let mut changed = items.to_vec();
            change(&mut changed);
            more.push(changed);
        };
        let item = &items[number];
        change(&|items| drop(items.remove(number)));
        change(&|items| items.insert(number, item.clone()));
        change(&|items| items.push(item.clone()));
        change(&|items| items.insert(0, item.clone()));
        change(&|items| {
            let other = (number + 1) % items.len();
            items.swap(number, other);
        });
        change(&|items| items.truncate(number));
        change(&|items| drop(items.drain(..number)));
    }
    let zero = Json::Text("0".repeat(64));
    more.push(items.iter().cloned().chain([zero.clone()]).collect());
    more.push(std::iter::once(zero).chain(items.iter().cloned()).collect());
    more.push(items.iter().rev().cloned().collect());
    found.extend(more.into_iter().map(Json::Array));
}

fn objects(members: &[(String, Json)], found: &mut Vec<Json>) {
    let mut more = Vec::new();
    for number in 0..members.len() {
        let (name, value) = &members[number];
        let mut change = |change: &dyn Fn(&mut Members)| {
            let mut changed = members.to_vec();
            change(&mut changed);
            more.push(changed);
        };
        change(&|members| drop(members.remove(number)));
        change(&|members| members.push((name.clone(), value.clone())));
        change(&|members| members.insert(0, (name.clone(), Json::Null)));
        change(&|members| members.push((name.clone(), Json::Null)));
        // The order is free.
        change(&|members| members.rotate_left(number));
        for other in [
            name.to_uppercase(),
            format!("{name} "),
            format!("{name}\0"),
            String::new(),
            "content_digest".to_owned(),
        ] {
            change(&|members| members[number].0.clone_from(&other));
        }
        for other in number + 1..members.len() {
            change(&|members| {
                let value = members[number].1.clone();
                members[number].1 = std::mem::replace(&mut members[other].1, value);
            });
        }
    }
    more.push(members.iter().rev().cloned().collect());
    let one_more = ("comment".to_owned(), Json::Text("x".to_owned()));
    more.push(members.iter().cloned().chain([one_more]).collect());
    found.extend(more.into_iter().map(Json::Object));
    let values = members.iter().map(|(_, value)| value.clone());
    found.push(Json::Array(values.collect()));
}
