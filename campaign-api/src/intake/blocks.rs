//! The staged file in blocks of whole lines, parsed on two threads into sorted runs.
//! An endless line passes by without being kept.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};

use tokio_util::sync::CancellationToken;

use super::form::{Fault, Form};
use super::line::{Line, Scratch};
use super::report::Report;
use super::runs::{Run, Sorter};
use super::{IntakeError, Order, rows};

/// Read at a time: large enough that handing it over costs nothing.
const BLOCK_BYTES: usize = 256 << 10;
/// Kept of a line that is too long, for the report.
const QUOTE_BYTES: usize = 512;
const PARSERS: usize = 2;

/// What the file held.
pub(super) struct Parsed {
    pub(super) runs: Vec<Run>,
    pub(super) lines: u64,
}

struct Block {
    bytes: Vec<u8>,
    /// The number of its first line, from 1.
    first_line: u64,
    /// Whether it is the beginning of one line that is too long.
    is_too_long: bool,
}

/// Parses the staged file into sorted runs; refused lines go to the report.
pub(super) fn parse(
    order: &Order,
    report: &Report,
    stop: &CancellationToken,
) -> Result<Parsed, IntakeError> {
    let failed = |e| IntakeError::disk("read", &order.staged)(e);
    let file = File::open(&order.staged).map_err(IntakeError::disk("open", &order.staged))?;
    let mut blocks = Blocks::new(file, order.form.line_max);
    let (sender, receiver) = sync_channel::<Block>(PARSERS);
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..PARSERS)
            .map(|i| {
                let receiver = &receiver;
                scope.spawn(move || parse_blocks(order, i, receiver, report))
            })
            .collect();
        let mut feed = || {
            while let Some(block) = blocks.next().map_err(failed)? {
                if stop.is_cancelled() {
                    return Err(IntakeError::Stopped);
                }
                // Workers that are gone tell why themselves.
                if sender.send(block).is_err() {
                    break;
                }
            }
            Ok(())
        };
        let fed = feed();
        drop(sender);
        let mut parsed = Parsed { runs: Vec::new(), lines: 0 };
        for worker in workers {
            let one = worker.join().unwrap_or(Err(IntakeError::Stopped))?;
            parsed.runs.extend(one.runs);
            parsed.lines += one.lines;
        }
        fed.map(|()| parsed)
    })
}

fn parse_blocks(
    order: &Order,
    worker: usize,
    blocks: &Mutex<Receiver<Block>>,
    report: &Report,
) -> Result<Parsed, IntakeError> {
    let mut sorter = Sorter::new(&order.workspace, worker, order.memory / PARSERS);
    let (mut scratch, mut lines) = (Scratch::default(), 0);
    loop {
        // The guard lives for the taking only.
        let taken = blocks.lock().map_err(|_| IntakeError::Stopped)?.recv();
        let Ok(block) = taken else { break };
        if block.is_too_long {
            lines += 1;
            report.refuse(block.first_line, &Fault::too_long(order.form.line_max), &block.bytes)?;
            continue;
        }
        for (number, line) in (block.first_line..).zip(block.bytes.split(|b| *b == b'\n')) {
            let line = if number == 1 { without_bom(line) } else { line };
            if line.trim_ascii().is_empty() {
                continue;
            }
            lines += 1;
            match read(&mut scratch, line, &order.form) {
                Ok(line) => sorter.push(|out| rows::write(&line, &order.form, number, out))?,
                Err(fault) => report.refuse(number, &fault, line)?,
            }
        }
    }
    Ok(Parsed { runs: sorter.finish(), lines })
}

fn read<'a>(scratch: &'a mut Scratch, line: &[u8], form: &Form) -> Result<Line<'a>, Fault> {
    if line.len() > form.line_max {
        return Err(Fault::too_long(form.line_max));
    }
    scratch.read(line, form)
}

/// Some exporters begin a file with a byte order mark.
fn without_bom(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
}

/// Cuts a file after line feeds.
struct Blocks<R> {
    file: R,
    line_max: usize,
    /// The beginning of the next block: what followed the last line feed.
    rest: Vec<u8>,
    line: u64,
    is_at_end: bool,
}

impl<R: Read> Blocks<R> {
    fn new(file: R, line_max: usize) -> Self {
        Self { file, line_max, rest: Vec::new(), line: 1, is_at_end: false }
    }

    fn next(&mut self) -> io::Result<Option<Block>> {
        let mut bytes = std::mem::take(&mut self.rest);
        loop {
            if self.is_at_end {
                return Ok((!bytes.is_empty()).then(|| self.block(bytes)));
            }
            self.fill(&mut bytes)?;
            if let Some(end) = memchr::memrchr(b'\n', &bytes) {
                self.rest = bytes.split_off(end + 1);
                bytes.pop();
                return Ok(Some(self.block(bytes)));
            }
            if bytes.len() > self.line_max {
                return self.pass_by(bytes).map(Some);
            }
        }
    }

    fn block(&mut self, bytes: Vec<u8>) -> Block {
        let first_line = self.line;
        self.line += memchr::memchr_iter(b'\n', &bytes).count() as u64 + 1;
        Block { bytes, first_line, is_too_long: false }
    }

    /// One reading of the file.
    fn fill(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let taken = self.file.by_ref().take(BLOCK_BYTES as u64).read_to_end(bytes)?;
        self.is_at_end = taken == 0;
        Ok(())
    }

    /// Reads to the end of a line that is too long, and keeps its beginning.
    fn pass_by(&mut self, mut bytes: Vec<u8>) -> io::Result<Block> {
        let quote = bytes[..QUOTE_BYTES.min(bytes.len())].to_vec();
        loop {
            bytes.clear();
            self.fill(&mut bytes)?;
            let end = memchr::memchr(b'\n', &bytes);
            if let Some(end) = end {
                self.rest = bytes.split_off(end + 1);
            }
            if end.is_some() || self.is_at_end {
                let block = Block { bytes: quote, first_line: self.line, is_too_long: true };
                self.line += 1;
                return Ok(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line numbers and lengths of everything that comes out.
    fn cut(text: &[u8], line_max: usize) -> Vec<(u64, usize, bool)> {
        let mut blocks = Blocks::new(text, line_max);
        let mut out = Vec::new();
        while let Some(block) = blocks.next().unwrap() {
            if block.is_too_long {
                out.push((block.first_line, block.bytes.len(), true));
                continue;
            }
            let lines = (block.first_line..).zip(block.bytes.split(|b| *b == b'\n'));
            out.extend(lines.map(|(n, line)| (n, line.len(), false)));
        }
        out
    }

    #[test]
    fn lines_keep_their_numbers_whatever_lies_between() {
        assert_eq!(cut(b"", 100), []);
        assert_eq!(cut(b"ab\n\ncde", 100), [(1, 2, false), (2, 0, false), (3, 3, false)]);
        let mut text = b"first\n".to_vec();
        text.extend(vec![b'x'; 5 << 20]);
        text.extend_from_slice(b"\nthird\n");
        assert_eq!(cut(&text, 100), [(1, 5, false), (2, QUOTE_BYTES, true), (3, 5, false)]);
        text.extend(vec![b'y'; 1 << 20]);
        assert_eq!(cut(&text, 100).last(), Some(&(4, QUOTE_BYTES, true)));
    }

    #[test]
    fn lines_over_many_blocks_are_whole() {
        let line = |i: usize| vec![b'a'; i * 7919 % 9000];
        let text: Vec<u8> = (0..500).flat_map(|i| [line(i), vec![b'\n']].concat()).collect();
        let expected: Vec<_> = (0..500).map(|i| (i as u64 + 1, line(i).len(), false)).collect();
        assert_eq!(cut(&text, 10_000), expected);
    }
}
