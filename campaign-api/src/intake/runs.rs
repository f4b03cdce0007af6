//! Sorting more than fits in memory: arenas of rows, sorted and written out when they are
//! full, merged at the end. What a row means is in `rows`.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::IntakeError;
use super::rows::Row;

/// Files merged at a time: each takes a descriptor and a buffer.
const FAN_IN: usize = 64;
const BUFFER_BYTES_MAX: usize = 256 << 10;

/// Rows in order.
pub(super) enum Run {
    /// The last arena of a sorter: for small campaigns there is nothing else.
    Memory(Arena),
    File(PathBuf),
}

/// Rows one after another, and where each begins.
pub(super) struct Arena {
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl Arena {
    fn row(&self, start: u32) -> Row<'_> {
        Row::first_of(&self.bytes[start as usize..])
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let key = |start: &u32| Row::first_of(&bytes[*start as usize..]).key();
        self.starts.sort_unstable_by(|a, b| key(a).cmp(key(b)));
    }

    fn memory(&self) -> usize {
        self.bytes.len() + self.starts.len() * size_of::<u32>()
    }
}

/// Collects rows into runs.
pub(super) struct Sorter {
    folder: PathBuf,
    worker: usize,
    memory: usize,
    arena: Arena,
    runs: Vec<Run>,
}

impl Sorter {
    pub(super) fn new(folder: &Path, worker: usize, memory: usize) -> Self {
        // Starts are 32 bits wide.
        let memory = memory.min(1 << 31);
        // Growing would copy and hold it twice; what is not written to costs nothing.
        let bytes = Vec::with_capacity(memory);
        let arena = Arena { bytes, starts: Vec::new() };
        Self { folder: folder.to_owned(), worker, memory, arena, runs: Vec::new() }
    }

    /// Adds the row that `write` appends.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), IntakeError> {
        self.arena.starts.push(self.arena.bytes.len() as u32);
        write(&mut self.arena.bytes);
        if self.arena.memory() >= self.memory { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), IntakeError> {
        self.arena.sort();
        let path = self.folder.join(format!("{}-{}", self.worker, self.runs.len()));
        let mut file = create(&path)?;
        for start in &self.arena.starts {
            let row = self.arena.row(*start);
            file.write_all(row.bytes()).map_err(IntakeError::disk("write", &path))?;
        }
        file.flush().map_err(IntakeError::disk("write", &path))?;
        self.arena.bytes.clear();
        self.arena.starts.clear();
        self.runs.push(Run::File(path));
        Ok(())
    }

    pub(super) fn finish(mut self) -> Vec<Run> {
        self.arena.sort();
        self.arena.bytes.shrink_to_fit();
        self.runs.push(Run::Memory(self.arena));
        self.runs
    }
}

fn create(path: &Path) -> Result<BufWriter<File>, IntakeError> {
    let file = File::create(path).map_err(IntakeError::disk("create", path))?;
    Ok(BufWriter::with_capacity(BUFFER_BYTES_MAX, file))
}

/// A run being read.
struct Source {
    /// The row that is next.
    row: Vec<u8>,
    rest: Rest,
}

enum Rest {
    Memory { arena: Arena, next: usize },
    File { path: PathBuf, file: BufReader<File> },
}

impl Source {
    /// A run at its first row; `None` when it has none.
    fn open(run: Run, buffer: usize) -> Result<Option<Self>, IntakeError> {
        let rest = match run {
            Run::Memory(arena) => Rest::Memory { arena, next: 0 },
            Run::File(path) => {
                let file = File::open(&path).map_err(IntakeError::disk("open", &path))?;
                Rest::File { path, file: BufReader::with_capacity(buffer, file) }
            }
        };
        let mut source = Self { row: Vec::new(), rest };
        Ok(source.advance()?.then_some(source))
    }

    /// Goes to the next row; `false` at the end.
    fn advance(&mut self) -> Result<bool, IntakeError> {
        self.row.clear();
        match &mut self.rest {
            Rest::Memory { arena, next } => {
                let Some(start) = arena.starts.get(*next) else { return Ok(false) };
                *next += 1;
                self.row.extend_from_slice(arena.row(*start).bytes());
                Ok(true)
            }
            Rest::File { path, file } => {
                read_row(file, &mut self.row).map_err(IntakeError::disk("read", path))
            }
        }
    }

    fn key(&self) -> &[u8] {
        Row::first_of(&self.row).key()
    }
}

fn read_row(file: &mut impl Read, row: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match file.read_exact(&mut length) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    row.extend_from_slice(&length);
    row.resize(4 + u32::from_le_bytes(length) as usize, 0);
    file.read_exact(&mut row[4..]).map(|()| true)
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Source {}
impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Source {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(other.key())
    }
}

/// All runs as one.
pub(super) struct Merge {
    sources: BinaryHeap<Reverse<Source>>,
    /// Whether the first of the heap has been handed out.
    is_taken: bool,
}

impl Merge {
    pub(super) fn open(
        mut runs: Vec<Run>,
        folder: &Path,
        memory: usize,
    ) -> Result<Self, IntakeError> {
        let mut round = 0;
        while runs.len() > FAN_IN {
            let rest = runs.split_off(FAN_IN);
            let path = folder.join(format!("merged-{round}"));
            round += 1;
            Self::over(runs, memory)?.write(&path)?;
            runs = rest;
            runs.push(Run::File(path));
        }
        Self::over(runs, memory)
    }

    fn over(runs: Vec<Run>, memory: usize) -> Result<Self, IntakeError> {
        let buffer = (memory / runs.len().max(1)).min(BUFFER_BYTES_MAX);
        let open = |run| Source::open(run, buffer).transpose().map(|s| s.map(Reverse));
        let sources = runs.into_iter().filter_map(open).collect::<Result<_, _>>()?;
        Ok(Self { sources, is_taken: false })
    }

    fn write(mut self, path: &Path) -> Result<(), IntakeError> {
        let mut file = create(path)?;
        while let Some(row) = self.next()? {
            file.write_all(row.bytes()).map_err(IntakeError::disk("write", path))?;
        }
        file.flush().map_err(IntakeError::disk("write", path))
    }

    /// The next row in order.
    pub(super) fn next(&mut self) -> Result<Option<Row<'_>>, IntakeError> {
        if std::mem::replace(&mut self.is_taken, true)
            && let Some(mut first) = self.sources.peek_mut()
            && !first.0.advance()?
        {
            PeekMut::pop(first);
        }
        Ok(self.sources.peek().map(|first| Row::first_of(&first.0.row)))
    }
}
