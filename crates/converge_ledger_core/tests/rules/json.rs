//! JSON is read as another reader reads it, whatever the text is.

use converge_ledger_core::json::{JsonError, Reader};
use serde_json::Value;

use crate::seeded::Random;

/// Whether a text is one JSON value, for the reader under test.
fn is_json(text: &str) -> bool {
    let mut reader = Reader::new(text);
    reader.skip().is_ok() && reader.end().is_ok()
}

fn string(text: &str) -> Result<String, JsonError> {
    let mut reader = Reader::new(text);
    let string = reader.string("a string")?;
    reader.end()?;
    Ok(string.get()?.into_owned())
}

/// A text that is JSON or nearly so.
fn some_text(random: &mut Random) -> String {
    const PARTS: [&str; 40] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\n",
        "\"",
        "\"a\"",
        "\"\\n\"",
        "\"\\u00e9\"",
        "\"\\ud83d\\ude42\"",
        "\"\\ud83d\"",
        "\"\\ude42\"",
        "\"\\q\"",
        "\"é🙂\"",
        "true",
        "false",
        "null",
        "nul",
        "0",
        "-0",
        "01",
        "1",
        "-",
        "12.5",
        "1.",
        ".5",
        "1e5",
        "1E+5",
        "1e",
        "1e-2",
        "\"a\":",
        "{}",
        "[]",
        "\\",
        "\u{1}",
        "\"\u{1}\"",
        "\t",
    ];
    let length = 1 + random.below(12) as usize;
    (0..length).map(|_| *random.pick(&PARTS)).collect()
}

#[test]
fn a_text_is_json_where_another_reader_says_so() {
    let mut random = Random::new("json or not");
    let (mut yes, mut no) = (0, 0);
    for _ in 0..60_000 {
        let text = some_text(&mut random);
        let read = serde_json::from_str::<Value>(&text);
        // A limit of that reader, not of JSON.
        if read
            .as_ref()
            .is_err_and(|error| error.to_string().contains("out of range"))
        {
            continue;
        }
        let expected = read.is_ok();
        assert_eq!(is_json(&text), expected, "{text:?}");
        *if expected { &mut yes } else { &mut no } += 1;
    }
    assert!(yes > 1_000 && no > 1_000, "{yes} and {no}");
}

#[test]
fn a_string_says_what_another_reader_reads() {
    let mut random = Random::new("json strings");
    for _ in 0..20_000 {
        let characters = (0..random.below(12)).map(|_| match random.below(6) {
            0 => char::from_u32(random.below(0x20) as u32).unwrap(),
            1 => *random.pick(&[
                '"',
                '\\',
                '/',
                'é',
                '🙂',
                '\u{7f}',
                '\u{ffff}',
                '\u{10ffff}',
            ]),
            _ => char::from(b'a' + random.below(26) as u8),
        });
        let said: String = characters.collect();
        let mut written = serde_json::to_string(&said).unwrap();
        if random.below(2) == 0 {
            // Everything as escapes.
            let units: String = said
                .encode_utf16()
                .map(|unit| format!("\\u{unit:04X}"))
                .collect();
            written = format!("\"{units}\"");
        }
        assert_eq!(string(&written).as_deref(), Ok(&*said), "{written}");
        let read = Reader::new(&written).string("a string").unwrap();
        assert!(read.is(&said) && !read.is(&format!("{said}x")), "{written}");
    }
    for bad in [
        "\"",
        "\"\\\"",
        "\"\\u12\"",
        "\"\\u12é4\"",
        "\"\\ud800x\"",
        "\"\\ud800\\n\"",
        "\"\\ud800\\ud800\"",
        "a",
        "",
    ] {
        assert!(string(bad).is_err(), "{bad}");
    }
}

#[test]
fn nesting_has_an_end() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(is_json(&nested(128)) && !is_json(&nested(129)));
    assert!(is_json(&format!(
        "{}1{}",
        "{\"a\":[".repeat(64),
        "]}".repeat(64)
    )));
    assert!(!is_json(&format!(
        "{}1{}",
        "{\"a\":[".repeat(64),
        "}]".repeat(64)
    )));
    assert!(!is_json(&"[".repeat(1_000_000)));
}
