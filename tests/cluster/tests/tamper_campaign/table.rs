//! The table of the campaign in `docs/trust.md`: written down as observed, and compared with what the document says.
//!
//! Each group of methods has its part between two marks. `CONVERGE_LEDGER_TAMPER_TABLE=write` puts what was observed into the
//! document instead; whoever does reads the difference.

use super::{At, FoundBy, Lines, Method, Who};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const HEAD: &str = "\
| what is done | to | `ledger_check` | scrub | comparison by the damaged node | comparison by the peer | what becomes of it |
| --- | --- | --- | --- | --- | --- | --- |
";

/// What was observed of a method.
pub struct Row {
    what: String,
    at: At,
    found: [String; 4],
    outcome: Vec<String>,
}

impl Row {
    pub fn new(method: &Method, damaged: usize) -> Self {
        println!("{damaged} entries are damaged");
        Self {
            what: method.what.to_owned(),
            at: method.at,
            found: Default::default(),
            outcome: Vec::new(),
        }
    }

    pub fn refused(method: &Method, code: &str) -> Self {
        let mut row = Self::new(method, 0);
        row.outcome.push(format!("refused ({code})"));
        row
    }

    pub fn observed(&mut self, by: FoundBy) {
        self.found = [by.check, by.scrub, by.here, by.there].map(|found| list(&found));
        let is_found = self.found.iter().any(|found| !found.is_empty());
        assert!(is_found, "nothing finds this: {}", self.what);
    }

    /// Rounds of the damaged node: which of them told or healed, and what all of them did.
    pub fn rounds(&mut self, number: usize, lines: &Lines) {
        if !lines.is_empty() {
            self.outcome
                .push(format!("{} ({})", actions(lines), ordinal(number)));
        }
    }

    /// Those of the other one.
    pub fn rounds_of_peer(&mut self, number: usize, lines: &Lines) {
        if !lines.is_empty() {
            self.outcome.push(format!(
                "by the peer {} ({})",
                actions(lines),
                ordinal(number)
            ));
        }
    }

    /// A round could not be run.
    pub fn failed(&mut self, error: &postgres::Error) {
        let code = error.code().map_or("none", |code| code.code());
        self.outcome.push(format!("rounds fail ({code})"));
    }

    pub fn mended(&mut self) {
        self.outcome.push("mended by hand".to_owned());
    }

    pub fn told(&mut self, here: &[String], there: &[String]) {
        for (kinds, node) in [(here, "damaged node"), (there, "peer")] {
            if !kinds.is_empty() {
                self.outcome
                    .push(format!("open on the {node}: {}", kinds.join(", ")));
            }
        }
    }

    pub fn decided(&mut self, who: Who, kind: &str, decision: &str) {
        let node = if who == Who::Here {
            "damaged node"
        } else {
            "peer"
        };
        self.outcome
            .push(format!("`{decision}` for the {kind} on the {node}"));
    }

    pub fn settled(&mut self, number: usize) {
        self.outcome.push(match number {
            0 => "healed".to_owned(),
            1 => "healed by 1 more round".to_owned(),
            more => format!("healed by {more} more rounds"),
        });
    }

    fn line(&self) -> String {
        let at = match self.at {
            At::Owner => "owner",
            At::Replica => "replica",
        };
        let cells = self
            .found
            .iter()
            .map(|found| if found.is_empty() { "–" } else { found });
        let cells: Vec<_> = cells.collect();
        // No round reports what is derived.
        let outcome = match self.outcome.is_empty() {
            true => "repaired by the next round".to_owned(),
            false => self.outcome.join("; "),
        };
        format!(
            "| {} | {at} | {} | {} |\n",
            self.what,
            cells.join(" | "),
            outcome
        )
    }
}

fn ordinal(round: usize) -> String {
    match round {
        1 => "1st round".to_owned(),
        2 => "2nd round".to_owned(),
        more => format!("{more}th round"),
    }
}

fn list(items: &BTreeSet<String>) -> String {
    let items: Vec<_> = items.iter().map(String::as_str).collect();
    items.join(", ")
}

/// Findings with what was done about them, each once.
fn actions(lines: &Lines) -> String {
    if lines.is_empty() {
        return "nothing".to_owned();
    }
    let each = lines
        .iter()
        .map(|(finding, action)| format!("{finding}: {action}"));
    list(&each.collect())
}

/// One test at a time changes the document.
static DOCUMENT: Mutex<()> = Mutex::new(());

/// Compares the rows of a group with those in the document, or writes them there.
pub fn compare(group: &str, rows: &[Row]) {
    let observed: String = std::iter::once(HEAD.to_owned())
        .chain(rows.iter().map(Row::line))
        .collect();
    let _alone = DOCUMENT
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let written = target().join(format!("{group}.md"));
    fs::create_dir_all(target()).expect("a directory");
    fs::write(&written, &observed).expect("written");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/trust.md");
    let document = fs::read_to_string(&path).expect("docs/trust.md");
    let begin = format!("<!-- tamper campaign: {group} -->\n");
    let end = "<!-- end -->\n";
    let (before, rest) = document
        .split_once(&begin)
        .unwrap_or_else(|| panic!("docs/trust.md has no {begin}"));
    let (known, after) = rest.split_once(end).expect("the end of the table");
    if std::env::var("CONVERGE_LEDGER_TAMPER_TABLE").is_ok_and(|value| value == "write") {
        fs::write(&path, [before, &begin, &observed, end, after].concat()).expect("written");
        return;
    }
    let (known, new): (BTreeSet<_>, BTreeSet<_>) =
        (known.lines().collect(), observed.lines().collect());
    assert!(
        known == new,
        "docs/trust.md says otherwise, {group}:\n{}\n{}\nobserved: {}\nCONVERGE_LEDGER_TAMPER_TABLE=write puts it there",
        known.difference(&new).map(|line| format!("- {line}\n")).collect::<String>(),
        new.difference(&known).map(|line| format!("+ {line}\n")).collect::<String>(),
        written.display(),
    );
}

/// Beside the logs of the test runner.
fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    target.unwrap_or_else(own).join("test/tamper")
}
