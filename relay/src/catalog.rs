//! Campaigns as this relay needs them: definition, compiled template, signing key; what files
//! they have, and not their octets. Read once from the store and kept; a definition never changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::window::Window;
use mail::{Address, CampaignId, Domain};
use message::{Content, FileHead, Mailbox, Signer, Template};
use store::{CampaignRecord, FileRecord, SealKeys, Store, StoreError};
use tokio::sync::Mutex;

use crate::shares::{Flow, Shares};
use crate::signers::{SignerError, signer};

/// Campaigns kept; the oldest go when there are more.
const CAMPAIGNS_MAX: usize = 200;
/// A signing key is read again after this, so that a rotation reaches every relay.
const FRESH: Duration = Duration::from_secs(300);

/// A campaign ready to be sent.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) id: CampaignId,
    pub(crate) tenant: String,
    /// The id of the request that created it, for the log.
    pub(crate) request: String,
    pub(crate) sender: Domain,
    /// Its class; 0 goes first.
    pub(crate) priority: u8,
    /// As what it shares.
    pub(crate) flow: Flow,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) window: Option<Window>,
    /// See [`CampaignRecord::require_tls`].
    pub(crate) require_tls: bool,
    pub(crate) template: Template,
    /// What its messages carry; the octets are in `files`.
    pub(crate) files: Vec<(FileHead, FileRecord)>,
    /// None where the next hop signs.
    pub(crate) signer: Option<Signer>,
    pub(crate) feedback_id: String,
}

/// Why a campaign cannot be sent at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsendable {
    #[error("campaign {0} is not in the store")]
    Missing(CampaignId),
    #[error("campaign {0}: {1}")]
    Template(CampaignId, message::ContentError),
    #[error("campaign {0}: {1}")]
    File(CampaignId, message::FileError),
    #[error(
        "campaign {0}: the sender domain {1} has no DKIM key here; add one with `malleposte dkim add {1}`"
    )]
    NoKey(CampaignId, Domain),
    #[error("campaign {0}: {1}")]
    Key(CampaignId, message::KeyError),
    #[error("{0}")]
    Record(StoreError),
}

/// What was asked for, or why it is not to be had.
pub(crate) enum Looked {
    Ready(Arc<Sending>),
    /// For ever: what waits for it is set aside.
    Unsendable(Arc<Unsendable>),
    /// The store is in trouble; ask again.
    NotNow(StoreError),
}

type Entry = (Instant, Result<Arc<Sending>, Arc<Unsendable>>);

pub(crate) struct Catalog {
    store: Store,
    seal: SealKeys,
    signs: bool,
    shares: Arc<Shares>,
    known: Mutex<HashMap<CampaignId, Entry>>,
}

impl Catalog {
    pub(crate) fn new(store: Store, seal: SealKeys, signs: bool, shares: Arc<Shares>) -> Self {
        Self { store, seal, signs, shares, known: Mutex::new(HashMap::new()) }
    }

    pub(crate) async fn look_up(&self, id: CampaignId) -> Looked {
        let mut known = self.known.lock().await;
        if let Some((at, entry)) = known.get(&id)
            && at.elapsed() < FRESH
        {
            return match entry {
                Ok(sending) => Looked::Ready(sending.clone()),
                Err(why) => Looked::Unsendable(why.clone()),
            };
        }
        let entry = match self.read(id).await {
            Ok(sending) => Ok(Arc::new(sending)),
            // A newer record, or one sealed with a key that this relay lacks, too: it is this
            // relay that will not read it, and another may.
            Err(Unsendable::Record(e))
                if e.is_passing()
                    || matches!(e, StoreError::Newer { .. } | StoreError::Sealed(_)) =>
            {
                return Looked::NotNow(e);
            }
            Err(why) => Err(Arc::new(why)),
        };
        if known.len() >= CAMPAIGNS_MAX {
            let oldest = known.iter().min_by_key(|(_, (at, _))| *at).map(|(id, _)| *id);
            oldest.map(|id| known.remove(&id));
        }
        known.insert(id, (Instant::now(), entry.clone()));
        match entry {
            Ok(sending) => Looked::Ready(sending),
            Err(why) => Looked::Unsendable(why),
        }
    }

    async fn read(&self, id: CampaignId) -> Result<Sending, Unsendable> {
        let campaign = self.store.campaign(id).await.map_err(Unsendable::Record)?;
        let campaign = campaign.ok_or(Unsendable::Missing(id))?;
        let (record, files) = (campaign.record, heads(id, campaign.files)?);
        let sender = record.template.from_address.domain();
        let template =
            Template::compile(&content(&record)).map_err(|e| Unsendable::Template(id, e))?;
        let signer = if self.signs { Some(self.signer(id, &sender).await?) } else { None };
        let flow = self.shares.flow(&record);
        Ok(Sending {
            id,
            feedback_id: format!("{id}:{}:bulk:malleposte", feedback_word(&record.tenant)),
            tenant: record.tenant,
            sender,
            priority: record.priority,
            flow,
            lifetime: record.lifetime_s.map(Duration::from_secs),
            window: record.window,
            require_tls: record.require_tls,
            request: record.request,
            template,
            files,
            signer,
        })
    }

    async fn signer(&self, id: CampaignId, domain: &Domain) -> Result<Signer, Unsendable> {
        let none = || Unsendable::NoKey(id, domain.clone());
        match signer(&self.store, &self.seal, domain).await {
            Ok(found) => found.ok_or_else(none),
            Err(SignerError::Record(error)) => Err(Unsendable::Record(error)),
            Err(SignerError::Key(error)) => Err(Unsendable::Key(id, error)),
        }
    }
}

fn heads(
    id: CampaignId,
    files: Vec<FileRecord>,
) -> Result<Vec<(FileHead, FileRecord)>, Unsendable> {
    let head = |file: FileRecord| {
        let head = FileHead::new(&file.name, &file.media_type, file.content_id.as_deref());
        Ok((head.map_err(|e| Unsendable::File(id, e))?, file))
    };
    files.into_iter().map(head).collect()
}

fn content(record: &CampaignRecord) -> Content {
    let t = &record.template;
    let mailbox = |name: &str, address: &Address| Mailbox {
        name: (!name.is_empty()).then(|| name.to_owned()),
        address: address.clone(),
    };
    Content {
        from: mailbox(&t.from_name, &t.from_address),
        reply_to: t.reply_to.as_ref().map(|a| mailbox("", a)),
        subject: t.subject.clone(),
        text: t.text.clone(),
        html: t.html.clone(),
        derive_text: t.derive_text,
        headers: t.headers.clone(),
        fields: t.fields.clone(),
    }
}

/// A part of a Feedback-ID: its separator and anything unusual become hyphens.
fn feedback_word(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    text.chars().take(40).map(plain).collect()
}
