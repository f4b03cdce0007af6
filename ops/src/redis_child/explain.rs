//! Why a server died, from the last lines of its log, and what to do about it.

/// What Redis writes, in lower case, what it means, and what helps. The plainer cause comes
/// first: a failed write is told by two lines.
const REASONS: &[(&str, &str)] = &[
    ("no space left on device", "the disk is full; make room, it comes back by itself"),
    (
        "short write while writing to the aof",
        "the disk is full; make room, it comes back by itself",
    ),
    ("disk quota exceeded", "the disk quota is used up; make room, it comes back by itself"),
    ("read-only file system", "the disk is read-only; see the system's log for its errors"),
    (
        "reading the append only file",
        "its AOF is damaged; keep a copy of the data folder, then repair it with \
         `redis-check-aof --fix` on the manifest in redis/appendonlydir",
    ),
    (
        "invalid aof manifest file format",
        "the manifest of its AOF is damaged; restore redis/appendonlydir from a copy",
    ),
    (
        "can't handle rdb format version",
        "the data was written by a newer server; install that version or a later one",
    ),
    (
        "can't recover from aof write error",
        "it could not write to the data folder; see whether the disk is full or broken",
    ),
    ("permission denied", "it may not use its files; check who owns the data folder"),
    ("out of memory", "there is no memory left for it"),
    ("cannot allocate memory", "there is no memory left for it"),
    ("bad directive or wrong number of arguments", "this server is too old; install 6.0 or later"),
];

/// One line: the cause with its cure when the log tells, and the line that told.
pub(super) fn explain<'a>(lines: impl DoubleEndedIterator<Item = &'a str> + Clone) -> String {
    let known = REASONS.iter().find_map(|(text, meaning)| {
        let line = lines.clone().rev().find(|line| line.to_lowercase().contains(text))?;
        Some(format!("{meaning} ({:?})", bare(line)))
    });
    let last = || lines.rev().find(|line| !line.is_empty()).map(|line| format!("{:?}", bare(line)));
    known.or_else(last).unwrap_or_else(|| "it left no word; perhaps somebody killed it".to_owned())
}

/// Less Redis's `123:M 22 Nov 2026 13:38:31.123 # `.
fn bare(line: &str) -> &str {
    line.split_once(" # ")
        .or_else(|| line.split_once(" * "))
        .or_else(|| line.split_once(" - "))
        .map_or(line, |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::explain;

    #[test]
    fn a_cause_comes_with_its_cure_and_the_line_that_told() {
        let log = [
            "7:M 22 Nov 2026 13:38:31.123 * Ready to accept connections",
            "7:M 22 Nov 2026 13:40:00.000 # Can't recover from AOF write error when the AOF \
             fsync policy is 'always'. Exiting... Error: No space left on device",
            "7:M 22 Nov 2026 13:40:00.001 # bye",
        ];
        let told = explain(log.into_iter());
        assert!(told.starts_with("the disk is full"), "{told}");
        assert!(told.contains("No space left on device") && !told.contains("13:40"), "{told}");
    }

    #[test]
    fn an_unknown_cause_is_quoted_and_silence_is_said() {
        let told = explain(["1:M 22 Nov 2026 13:38:31.123 # Fatal: oddity", ""].into_iter());
        assert_eq!(told, "\"Fatal: oddity\"");
        assert!(explain([].into_iter()).contains("left no word"));
    }
}
