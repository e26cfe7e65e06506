//! Compiles the library that gives a server a wrong clock.

use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/clock.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CC");
    let library =
        PathBuf::from(std::env::var_os("OUT_DIR").expect("set by cargo")).join("clock.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let status = Command::new(&compiler)
        .args([
            "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o",
        ])
        .arg(&library)
        .arg(SOURCE)
        .status()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(status.success(), "{compiler} could not compile {SOURCE}");
}
