//! The files of campaigns, encoded: read once from the store, shared by all messages, and bounded
//! in octets over all campaigns together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mail::CampaignId;
use message::{FileHead, Files};
use store::{FileRecord, Store, StoreError};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::catalog::Sending;

/// How long a campaign that is sent from keeps its files while others wait for room: reading
/// them again for each message would cost more than sending it.
const TURN: Duration = Duration::from_secs(2);
/// Between two looks at whether somebody is done with his.
const LOOK: Duration = Duration::from_millis(20);
/// What room is counted in.
const UNIT: u64 = 1024;

/// A campaign's files, for as long as somebody has them.
pub(crate) struct Kept {
    pub(crate) files: Files,
    since: Instant,
    /// Free again when the last who has them lets go.
    _room: OwnedSemaphorePermit,
}

struct Entry {
    used: Instant,
    cell: Arc<OnceCell<Arc<Kept>>>,
}

pub(crate) struct CampaignFiles {
    store: Store,
    room: Arc<Semaphore>,
    units_max: u32,
    known: Mutex<HashMap<CampaignId, Entry>>,
}

impl CampaignFiles {
    /// With room for so many octets.
    pub(crate) fn new(store: Store, octets_max: u64) -> Self {
        let units_max = u32::try_from(octets_max / UNIT).unwrap_or(u32::MAX);
        let room = Arc::new(Semaphore::new(units_max as usize));
        Self { store, room, units_max, known: Mutex::default() }
    }

    /// What messages of a campaign carry; waits until there is room for it.
    ///
    /// # Errors
    /// When the store does not answer, or a file is not there.
    pub(crate) async fn of(&self, sending: &Sending) -> Result<Option<Arc<Kept>>, StoreError> {
        if sending.files.is_empty() {
            return Ok(None);
        }
        let cell = {
            let mut known = self.lock();
            let now = Instant::now();
            let new = || Entry { used: now, cell: Arc::default() };
            let entry = known.entry(sending.id).or_insert_with(new);
            entry.used = now;
            entry.cell.clone()
        };
        // Whoever comes meanwhile waits for the same reading.
        match cell.get_or_try_init(|| Box::pin(self.read(sending))).await {
            Ok(kept) => Ok(Some(kept.clone())),
            Err(error) => {
                self.lock().retain(|id, entry| *id != sending.id || entry.cell.initialized());
                Err(error)
            }
        }
    }

    async fn read(&self, sending: &Sending) -> Result<Arc<Kept>, StoreError> {
        let lengths = || sending.files.iter().map(|(head, file)| (head, file.octets));
        let room = self.make_room(lengths().map(|(_, octets)| octets).sum()).await?;
        let mut builder = sending.template.encode_files(lengths());
        for (head, file) in &sending.files {
            self.add(sending.id, (head, file), &mut builder).await?;
        }
        let proved = tokio::task::spawn_blocking(move || builder.finish()).await;
        let unfit = || StoreError::Corrupt {
            what: format!("the files of campaign {}", sending.id),
            why: "they do not go into a message".into(),
        };
        let files = proved.ok().flatten().ok_or_else(unfit)?;
        Ok(Arc::new(Kept { files, since: Instant::now(), _room: room }))
    }

    async fn add(
        &self,
        id: CampaignId,
        (head, file): (&FileHead, &FileRecord),
        builder: &mut message::FilesBuilder,
    ) -> Result<(), StoreError> {
        builder.begin(head);
        let mut next = 0;
        while next < file.pieces() {
            let pieces = self.store.file_pieces(id, file, next).await?;
            next += pieces.len() as u32;
            pieces.iter().for_each(|piece| builder.push(head, piece));
        }
        builder.end(head);
        Ok(())
    }

    /// Lets others' files go until there is room, in the order in which it is asked for. Who waits
    /// here has none, so nobody waits for him.
    async fn make_room(&self, octets: u64) -> Result<OwnedSemaphorePermit, StoreError> {
        // Four characters for three octets, a line's end for each 76, and a header.
        let units = (octets * 7 / 5).div_ceil(UNIT) + 4;
        let units = u32::try_from(units).unwrap_or(u32::MAX).min(self.units_max);
        if let Ok(room) = self.room.clone().try_acquire_many_owned(units) {
            return Ok(room);
        }
        let mut room = std::pin::pin!(self.room.clone().acquire_many_owned(units));
        loop {
            let pause = if self.forget_one() { Duration::ZERO } else { LOOK };
            if let Ok(room) = tokio::time::timeout(pause, &mut room).await {
                return room.map_err(|_| StoreError::Busy);
            }
        }
    }

    /// Lets go of a campaign from which nobody sends, or which had its turn; of the one that was
    /// not sent from for the longest time. `false` when there is none.
    fn forget_one(&self) -> bool {
        let mut known = self.lock();
        let may_go = |entry: &Entry| {
            let kept = entry.cell.get();
            kept.is_some_and(|kept| Arc::strong_count(kept) == 1 || kept.since.elapsed() > TURN)
        };
        let going = known.iter().filter(|(_, entry)| may_go(entry));
        let oldest = going.min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id);
        oldest.is_some_and(|id| known.remove(&id).is_some())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CampaignId, Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
