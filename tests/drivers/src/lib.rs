//! What the tests of the page `docs/drivers.md` are made from: its examples, and programs that run one of them.
//!
//! An example is put into a frame (`frames/`), which connects, reads the cases, and tells what the example has read back.

use converge_ledger_cluster::{output, Server};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What an example appends.
pub struct Case {
    /// The context.
    pub ledger: &'static str,
    /// A text.
    pub text: String,
    /// Bytes.
    pub data: Vec<u8>,
    /// JSON, as a driver may write it.
    pub document: &'static str,
}

/// Values that are taken for something else where a driver or the server is careless.
pub fn cases() -> Vec<Case> {
    let case = |ledger, text: &str, data: &[u8], document| Case {
        ledger,
        text: text.to_owned(),
        data: data.to_owned(),
        document,
    };
    let all_bytes: Vec<u8> = (0..=255).collect();
    vec![
        case("plain", "plain", b"plain", r#"{"a": 1}"#),
        case(
            r"a bytea literal",
            r"\xff00",
            b"\xff\x00",
            r#"{"re":"a\\d"}"#,
        ),
        case(
            r"a Windows path",
            r"\xampp\htdocs",
            br"\xff00",
            r#"{"path": "\\xampp\\htdocs"}"#,
        ),
        case(
            "o'rder \"4711\" ü",
            "café 🙂 \u{2028} 'q' \"q\" \\ \\\\ \\' $1 %s %% ? ?? :x ${x} {} [] \r\n\t",
            &all_bytes,
            r#"["an array", 1, null, true, {"ü": "\u00fc'\"", "b": 1, "a": [[]]}]"#,
        ),
        case("empty", "", b"", "{}"),
        case(
            "octal",
            r"caf\303\251",
            br"caf\303\251",
            r#"{"b": "\\303\\251", "a": "\\"}"#,
        ),
    ]
}

/// The example of a driver: the code in the section with this heading.
pub fn example(heading: &str) -> String {
    let page = fs::read_to_string(top().join("docs/drivers.md")).expect("the page");
    let mut lines = page.lines();
    let heading = format!("### {heading}");
    assert!(
        lines.by_ref().any(|line| line == heading),
        "no section {heading}"
    );
    let section: Vec<&str> = lines
        .take_while(|line| !line.starts_with('#') || line.starts_with("# "))
        .collect();
    let section = section.join("\n");
    let mut parts = section.split("```");
    let (Some(_), Some(code), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        panic!("section {heading} has not exactly one block of code");
    };
    let (_language, code) = code.split_once('\n').expect("a language");
    code.to_owned()
}

/// The frame with an example in its place.
pub fn program(frame: &str, example: &str) -> String {
    let text = fs::read_to_string(frames().join(frame)).expect("a frame");
    let mut places = 0;
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let code = line.trim_start();
            if code != "# the example" && code != "// the example" {
                return line.to_owned();
            }
            places += 1;
            let indent = &line[..line.len() - code.len()];
            let indented = |line: &str| match line {
                "" => String::new(),
                _ => format!("{indent}{line}"),
            };
            let lines: Vec<String> = example.lines().map(indented).collect();
            lines.join("\n")
        })
        .collect();
    assert_eq!(places, 1, "{frame} has one place for an example");
    lines.join("\n") + "\n"
}

/// Runs a program, in a directory, with the cases on its standard input; gives the lines that it tells.
///
/// Panics with all that it says when it fails.
pub fn run(server: &Server, database: &str, directory: &Path, command: &Command) -> Vec<String> {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let lines: String = cases()
        .iter()
        .map(|case| {
            let [text, data, document] =
                [case.text.as_bytes(), &case.data, case.document.as_bytes()].map(hex);
            format!("{}\t{text}\t{data}\t{document}\n", case.ledger)
        })
        .collect();
    fs::write(directory.join("cases"), lines).expect("written");
    let address = server.address();
    let mut shell = Command::new("sh");
    shell
        .current_dir(directory)
        .args(["-c", "exec \"$@\" <cases", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env("PGHOST", address.ip().to_string())
        .env("PGPORT", address.port().to_string())
        .env("PGUSER", "postgres")
        .env("PGDATABASE", database)
        // A program that prints texts must not depend on the machine's language.
        .env("LC_ALL", "C.UTF-8");
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    let ended = output(&mut shell);
    let [told, complaints] =
        [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(
        ended.status.success(),
        "{}\n{told}\n{complaints}",
        ended.status
    );
    told.lines().map(str::to_owned).collect()
}

/// Where `scripts/setup_drivers` puts the drivers.
pub fn drivers() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from);
    // The tests of a package run in its directory, and the variable counts from where cargo was called.
    let target = if target.is_relative() {
        top().join(target)
    } else {
        target
    };
    target.join("drivers")
}

/// Why the drivers of a group are not there, if they are not.
pub fn missing(group: &str) -> Option<String> {
    let at = |end: &str| drivers().join(format!("{group}.{end}"));
    if at("made").exists() {
        return None;
    }
    let reason = fs::read_to_string(at("missing"));
    Some(reason.map_or_else(
        |_| "scripts/setup_drivers was not run".to_owned(),
        |reason| reason.trim().to_owned(),
    ))
}

/// Where the frames are.
pub fn frames() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("frames")
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
