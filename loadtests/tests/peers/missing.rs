//! What a test does without the program that it needs: it says so where somebody reads it, and in
//! CI it fails.

use std::process::Command;

use crate::others::program_or_skip;

/// Set where the test that needs it is to run in earnest.
const IN_EARNEST: &str = "NEEDS_WHAT_NOBODY_WROTE";

#[test]
fn a_test_that_needs_what_nobody_wrote() {
    if std::env::var_os(IN_EARNEST).is_some() {
        assert_eq!(program_or_skip("a-server-that-nobody-wrote"), None);
    }
}

#[test]
fn a_missing_program_is_told_to_whoever_reads_the_end_and_fails_in_ci() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    for in_ci in [false, true] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "peers::missing::a_test_that_needs_what_nobody_wrote"]);
        command.env(IN_EARNEST, "1").env("SKIPPED_TESTS", &told).env_remove("CI");
        if in_ci {
            command.env("CI", "1");
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.success(), !in_ci, "{output:?}");
    }
    assert_eq!(
        std::fs::read_to_string(&told).unwrap(),
        "SKIPPED, and proves nothing: peers::missing::a_test_that_needs_what_nobody_wrote: no \
         a-server-that-nobody-wrote (ops/install.sh --tests)\n"
    );
}

/// Without it nothing above fails anywhere.
#[test]
fn ci_says_that_it_is_ci_and_the_tests_command_shows_what_was_skipped() {
    let read = |file: &str| {
        std::fs::read_to_string(format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    assert!(read(".ci/run").contains("\nexport CI=1\n"));
    let tests = read("ops/test.sh");
    assert!(
        tests.contains("export SKIPPED_TESTS\n")
            && tests.contains("\nsort -u \"$SKIPPED_TESTS\"\n")
    );
}
