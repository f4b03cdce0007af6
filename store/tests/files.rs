//! Files of campaigns: changed by whoever saw them last and only in a draft, in pieces that stay
//! as long as somebody may need them.

use mail::{CampaignId, Timestamp};
use store::{
    Campaign, CampaignStatus, FILE_PIECE_OCTETS, FileRecord, FilesChanged, Store, StoreError,
};

use crate::support;

struct World {
    redis: support::Redis,
    store: Store,
}

impl World {
    async fn start() -> Self {
        let redis = support::Redis::start();
        let store = Store::open(&redis.config()).await.unwrap();
        Self { redis, store }
    }

    async fn draft(&self) -> CampaignId {
        self.store.create_campaign(&support::campaign()).await.unwrap()
    }

    async fn campaign(&self, id: CampaignId) -> Campaign {
        self.store.campaign(id).await.unwrap().unwrap()
    }

    /// Puts a file's octets, in pieces; it is not listed yet.
    async fn put(&self, id: CampaignId, name: &str, octets: &[u8]) -> FileRecord {
        for (n, piece) in octets.chunks(FILE_PIECE_OCTETS).enumerate() {
            self.store.put_file_piece(id, name, n as u32, piece).await.unwrap();
        }
        FileRecord {
            name: name.into(),
            media_type: "image/png".into(),
            content_id: None,
            octets: octets.len() as u64,
            sha256: String::new(),
            key: name.into(),
        }
    }

    /// How long each piece of a campaign lasts, in seconds; -1 is for ever.
    async fn lasts(&self) -> Vec<i64> {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut conn = client.get_multiplexed_async_connection().await.unwrap();
        let names: Vec<String> =
            redis::cmd("KEYS").arg("*:file:*").query_async(&mut conn).await.unwrap();
        let mut lasts = Vec::new();
        for name in names {
            lasts.push(redis::cmd("TTL").arg(name).query_async(&mut conn).await.unwrap());
        }
        lasts
    }
}

fn is_a_day(lasts: &[i64]) -> bool {
    !lasts.is_empty() && lasts.iter().all(|left| (86_300..=86_400).contains(left))
}

#[tokio::test]
async fn a_list_is_changed_by_whoever_saw_it_last_and_only_in_a_draft() {
    let world = World::start().await;
    let id = world.draft().await;
    let (a, b) = (world.put(id, "a", b"a").await, world.put(id, "b", b"b").await);
    let empty = world.campaign(id).await;
    assert!(empty.files.is_empty());
    let change = async |seen: &Campaign, to: &[FileRecord]| {
        world.store.change_files(seen, to).await.unwrap()
    };
    assert_eq!(change(&empty, std::slice::from_ref(&a)).await, FilesChanged::Done);
    assert_eq!(change(&empty, std::slice::from_ref(&b)).await, FilesChanged::Others);
    let seen = world.campaign(id).await;
    assert_eq!(seen.files, std::slice::from_ref(&a));
    assert_eq!(change(&seen, &[a, b]).await, FilesChanged::Done);
    // Closed with the files that were looked at, or not at all.
    let (at, late) = (Timestamp(7), world.campaign(id).await);
    assert_eq!(world.store.close_draft(&seen, at).await.unwrap(), CampaignStatus::Draft);
    assert_eq!(world.store.close_draft(&late, at).await.unwrap(), CampaignStatus::Closing);
    assert_eq!(change(&late, &[]).await, FilesChanged::Settled);
    assert_eq!(world.campaign(id).await.files.len(), 2);
}

#[tokio::test]
async fn what_is_never_listed_goes_by_itself_and_what_is_kept_stays() {
    let world = World::start().await;
    let id = world.draft().await;
    let octets: Vec<u8> = (0..FILE_PIECE_OCTETS * 17 + 5).map(|n| (n % 251) as u8).collect();
    let file = world.put(id, "large", &octets).await;
    assert_eq!((file.pieces(), world.lasts().await.len()), (18, 18));
    assert!(is_a_day(&world.lasts().await));
    assert!(world.store.keep_files(id, std::slice::from_ref(&file)).await.unwrap().is_empty());
    assert!(world.lasts().await.iter().all(|left| *left == -1));
    let (mut read, mut next) = (Vec::new(), 0);
    while next < file.pieces() {
        let pieces = world.store.file_pieces(id, &file, next).await.unwrap();
        next += pieces.len() as u32;
        read.extend(pieces.concat());
    }
    assert!(read == octets);
    assert!(world.store.file_pieces(id, &file, next).await.unwrap().is_empty());

    let gone = FileRecord { key: "other".into(), ..file.clone() };
    assert_eq!(world.store.keep_files(id, &[file.clone(), gone.clone()]).await.unwrap(), ["large"]);
    let error = world.store.file_pieces(id, &gone, 0).await.unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        format!("file \"large\" of campaign {id} cannot be read: piece 0 is not there")
    );
    world.store.delete_files(id, &[file]).await.unwrap();
    assert!(world.lasts().await.is_empty());
}

#[tokio::test]
async fn files_outlive_their_campaign_by_a_day_and_come_back_with_it() {
    let world = World::start().await;
    let id = world.draft().await;
    let file = world.put(id, "a", b"a").await;
    let draft = world.campaign(id).await;
    world.store.change_files(&draft, std::slice::from_ref(&file)).await.unwrap();
    world.store.keep_files(id, &[file]).await.unwrap();
    world.store.retire_campaign(id).await.unwrap();
    assert!(is_a_day(&world.lasts().await));
    world.store.activate_campaign(id).await.unwrap();
    assert_eq!(world.lasts().await, [-1]);
}
