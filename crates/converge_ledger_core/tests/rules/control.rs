//! What the payloads of control entries state.

use converge_ledger_core::control::{erased_entries, ControlKey, ErasedEntry, Resolve, Takeover};
use converge_ledger_core::Hash;

#[test]
fn control_keys_are_exactly_three() {
    for (key, control) in [
        ("$takeover", ControlKey::Takeover),
        ("$erase", ControlKey::Erase),
        ("$resolve", ControlKey::Resolve),
    ] {
        assert_eq!(ControlKey::from_key(key), Some(control));
        assert_eq!(control.as_str(), key);
    }
    for key in ["", "$", "takeover", "$takeover ", "$Takeover", "$other"] {
        assert_eq!(ControlKey::from_key(key), None, "{key}");
    }
}

#[test]
fn a_takeover_states_size_and_root() {
    let root = Hash::from_bytes([0xab; 32]);
    let payload = |root: &str| {
        format!(r#"{{"size":7,"rfc6962":"{root}","previous_owner":"a","reason":"fire"}}"#)
    };
    let takeover = Takeover {
        size: 7,
        rfc6962: root,
    };
    let text = payload(&root.to_string());
    assert_eq!(Takeover::from_payload(text.as_bytes()), Some(takeover));
    let upper = payload(&root.to_string().to_uppercase());
    for other in [
        upper.as_str(),
        "",
        "{}",
        "[]",
        "{\"size\":7}",
        "\u{fffd}",
        &text[1..],
    ] {
        assert_eq!(Takeover::from_payload(other.as_bytes()), None, "{other}");
    }
    assert_eq!(
        Takeover::from_payload(text.replace(":7", ":7.0").as_bytes()),
        None
    );
    assert_eq!(
        Takeover::from_payload(text.replace(":7", ":-7").as_bytes()),
        None
    );
    assert_eq!(Takeover::from_payload(b"\xff"), None);
}

#[test]
fn a_resolve_is_written_as_the_format_says() {
    let resolve = Resolve {
        size: 7,
        rfc6962: Hash::from_bytes([0x0f; 32]),
        abandoned: Hash::from_bytes([0xa0; 32]),
    };
    let payload = resolve.to_payload("\"both\" went on \u{2028}");
    let (root, abandoned) = ("0f".repeat(32), "a0".repeat(32));
    let expected = format!(
        r#"{{"size":7,"rfc6962":"{root}","abandoned":"{abandoned}","reason":"\"both\" went on {}"}}"#,
        '\u{2028}'
    );
    assert_eq!(payload, expected);
    assert_eq!(Resolve::from_payload(payload.as_bytes()), Some(resolve));
    for missing in ["size", "rfc6962", "abandoned"] {
        let other = payload.replace(missing, "other");
        assert_eq!(Resolve::from_payload(other.as_bytes()), None, "{missing}");
    }
}

#[test]
fn a_takeover_is_written_as_the_format_says() {
    let takeover = Takeover {
        size: 9_007_199_254_740_990,
        rfc6962: Hash::from_bytes([0x0f; 32]),
    };
    let root = "0f".repeat(32);
    let expected = |owner: &str, reason: &str| {
        format!(
            r#"{{"size":9007199254740990,"rfc6962":"{root}","previous_owner":"{owner}","reason":"{reason}"}}"#
        )
    };
    for (owner, reason, written_owner, written_reason) in [
        ("a", "burnt down", "a", "burnt down"),
        // Nothing is escaped but what JSON demands.
        ("é/<&>'\u{2028}", "日本 🔥", "é/<&>'\u{2028}", "日本 🔥"),
        (r#"a"b\c"#, r#"",""#, r#"a\"b\\c"#, r#"\",\""#),
        ("", "", "", ""),
    ] {
        let payload = takeover.to_payload(owner, reason);
        assert_eq!(payload, expected(written_owner, written_reason));
        assert_eq!(Takeover::from_payload(payload.as_bytes()), Some(takeover));
        let value: serde_json::Value = serde_json::from_str(&payload).unwrap();
        assert_eq!(value["previous_owner"], owner);
        assert_eq!(value["reason"], reason);
        assert_eq!(value.as_object().unwrap().len(), 4);
    }
}

#[test]
fn an_erasure_lists_sequences_and_leaves() {
    let leaf = Hash::from_bytes([0xcd; 32]);
    let text = format!(r#"{{"erased":[{{"sequence":3,"leaf":"{leaf}"}}],"reason":"Art. 17"}}"#);
    let erased = erased_entries(text.as_bytes());
    assert_eq!(erased, Some(vec![ErasedEntry { sequence: 3, leaf }]));
    assert_eq!(
        erased_entries(b"{\"erased\":[],\"reason\":\"\"}"),
        Some(Vec::new())
    );
    for other in [
        "",
        "{}",
        "{\"erased\":3}",
        "{\"erased\":[{\"sequence\":3}]}",
        &text[1..],
    ] {
        assert_eq!(erased_entries(other.as_bytes()), None, "{other}");
    }
}
