//! Programs that others wrote, and rights that a test needs: where they are, and what happens
//! where one is missing. Included by path in the tests of several crates.
#![allow(dead_code, reason = "not every test binary needs all of it")]

use std::io::Write;
use std::path::PathBuf;

/// A program in PATH or where Debian keeps servers, which is in root's PATH alone.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Whether what a test needs is here. Where it is not, the test proves nothing: in CI that is a
/// failure, elsewhere it is said aloud, and written to the file of `SKIPPED_TESTS`, which
/// `ops/test.sh` shows at its end: the output of tests that pass is seen by nobody.
pub(crate) fn is_here(is: bool, what: &str) -> bool {
    if is {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "in CI nothing may be left out: {what}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let told = format!("SKIPPED, and proves nothing: {test}: no {what}");
    eprintln!("{told}");
    if let Some(file) = std::env::var_os("SKIPPED_TESTS") {
        let file = std::fs::File::options().create(true).append(true).open(file);
        // In one write: other tests write beside it.
        let written = file.and_then(|mut file| file.write_all(format!("{told}\n").as_bytes()));
        written.expect("the file of SKIPPED_TESTS");
    }
    false
}

/// Whether a program is here, and where; see [`is_here`].
pub(crate) fn program_or_skip(name: &str) -> Option<PathBuf> {
    let found = program(name);
    is_here(found.is_some(), &format!("{name} (ops/install.sh --tests)"));
    found
}
