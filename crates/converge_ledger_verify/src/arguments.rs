//! The command line: what is asked, and what the asker trusts.
//!
//! Every option is given once, as two arguments. Nothing has a default that could stand in for
//! something trusted.

use converge_ledger_core::{Hash, TreeHead, TreeSize};

/// What `--help` prints.
pub const USAGE: &str = "\
usage: converge-ledger-verify inclusion --context TEXT --sequence NUMBER
                                        --size NUMBER --root HEX [FILE]
       converge-ledger-verify consistency --old-size NUMBER --old-root HEX
                                          --size NUMBER --root HEX
                                          [--context TEXT] [FILE]

Verifies the JSON proof in FILE, or on standard input if FILE is - or absent.
Sizes and roots are those that you trust, from your own notes or another node;
those inside the proof are ignored.

  --context TEXT     the context that you ask about; a proof about another one
                     is refused. Optional for consistency: without it, the
                     roots alone say which ledger is meant
  --sequence NUMBER  the sequence of the entry
  --size NUMBER      the number of entries in the tree
  --root HEX         the root of that tree: 64 lower-case hexadecimal digits,
                     with or without the \\x that psql prints before them
  --old-size NUMBER, --old-root HEX
                     size and root of the tree that came first

A context has two roots of each size, one for each tree. An inclusion proof is
verified with the root of its own tree, a consistency proof with roots of the
rfc6962 tree.

exit status: 0 the proof holds, 1 it does not, 2 nothing could be judged
";

/// What is asked.
#[derive(Debug)]
pub enum Command {
    /// How to use the program.
    Help,
    /// Whether an entry is in a tree.
    Inclusion(InclusionQuestion),
    /// Whether a tree is the beginning of another.
    Consistency(ConsistencyQuestion),
}

/// Whether an entry is in a tree.
#[derive(Debug)]
pub struct InclusionQuestion {
    /// The context that is asked about.
    pub context: String,
    /// The sequence that is asked about.
    pub sequence: i64,
    /// The trusted size and root.
    pub head: TreeHead,
    /// Where the proof is.
    pub input: Input,
}

/// Whether a tree is the beginning of another.
#[derive(Debug)]
pub struct ConsistencyQuestion {
    /// The context that is asked about, if the asker wants it compared.
    pub context: Option<String>,
    /// The trusted older size and root.
    pub old: TreeHead,
    /// The trusted newer size and root.
    pub new: TreeHead,
    /// Where the proof is.
    pub input: Input,
}

/// Where a proof is read from.
#[derive(Debug)]
pub enum Input {
    /// Standard input.
    Standard,
    /// A file.
    File(String),
}

impl Command {
    /// Reads the arguments after the program's name.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let Some((name, rest)) = arguments.split_first() else {
            return Err(format!("no command is given\n{USAGE}"));
        };
        if arguments
            .iter()
            .any(|argument| argument == "--help" || argument == "-h")
        {
            return Ok(Command::Help);
        }
        match name.as_str() {
            "inclusion" => {
                let known = ["--context", "--sequence", "--size", "--root"];
                let mut options = Options::parse(rest, &known)?;
                Ok(Command::Inclusion(InclusionQuestion {
                    context: options.required("--context")?,
                    sequence: options.number("--sequence")?,
                    head: options.head("--size", "--root")?,
                    input: options.input(),
                }))
            }
            "consistency" => {
                let known = ["--context", "--old-size", "--old-root", "--size", "--root"];
                let mut options = Options::parse(rest, &known)?;
                Ok(Command::Consistency(ConsistencyQuestion {
                    context: options.take("--context"),
                    old: options.head("--old-size", "--old-root")?,
                    new: options.head("--size", "--root")?,
                    input: options.input(),
                }))
            }
            _ => Err(format!("unknown command {name:?}\n{USAGE}")),
        }
    }
}

struct Options {
    named: Vec<(String, String)>,
    file: Option<String>,
}

impl Options {
    fn parse(arguments: &[String], known: &[&str]) -> Result<Self, String> {
        let mut options = Options {
            named: Vec::new(),
            file: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if known.contains(&argument.as_str()) {
                let value = arguments
                    .next()
                    .ok_or(format!("{argument} needs a value"))?;
                if options.named.iter().any(|(name, _)| name == argument) {
                    return Err(format!("{argument} is given twice"));
                }
                options.named.push((argument.clone(), value.clone()));
            } else if argument.starts_with("--") {
                return Err(format!("unknown option {argument:?}\n{USAGE}"));
            } else if options.file.replace(argument.clone()).is_some() {
                return Err("more than one file is given".to_string());
            }
        }
        Ok(options)
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let place = self.named.iter().position(|(known, _)| known == name)?;
        Some(self.named.swap_remove(place).1)
    }

    fn required(&mut self, name: &str) -> Result<String, String> {
        self.take(name).ok_or(format!("{name} is missing"))
    }

    fn number(&mut self, name: &str) -> Result<i64, String> {
        let text = self.required(name)?;
        text.parse()
            .map_err(|_| format!("{name} needs a whole number, not {text:?}"))
    }

    fn head(&mut self, size: &str, root: &str) -> Result<TreeHead, String> {
        let leaves = self.number(size)?;
        let digits = self.required(root)?;
        Ok(TreeHead {
            size: TreeSize::try_from(leaves).map_err(|error| format!("{size}: {error}"))?,
            // As psql prints a bytea, or the digits alone.
            root: Hash::from_hex(digits.strip_prefix("\\x").unwrap_or(&digits))
                .ok_or(format!("{root} needs 64 lower-case hexadecimal digits"))?,
        })
    }

    fn input(self) -> Input {
        match self.file {
            Some(path) if path != "-" => Input::File(path),
            _ => Input::Standard,
        }
    }
}
