//! A campaign's files on their way in: how many and how large they may be, how their octets get
//! to the store, and whether they fit the HTML when the campaign is closed.

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::Body;
use axum::http::StatusCode;
use futures_util::StreamExt;
use mail::CampaignId;
use message::{FILES_MAX, FileError, FileHead, Unmatched};
use serde_json::{Value, json};
use store::{Campaign, FILE_PIECE_OCTETS, FileRecord};

use crate::problem::{Answer, Problem};
use crate::staging::random_name;
use crate::{App, Config, body};

/// Room for one more file beside the others of a campaign.
pub(crate) struct Room {
    /// For all of them.
    octets_max: u64,
    /// Of the others; what has the same name makes place.
    taken: u64,
}

impl Room {
    pub(crate) fn of(config: &Config, files: &[FileRecord], head: &FileHead) -> Answer<Self> {
        let others = || files.iter().filter(|file| file.name != head.name());
        let count = others().count();
        if count >= FILES_MAX {
            let name = head.name();
            let detail = format!("{name:?} is one too many: a campaign has at most {FILES_MAX}");
            return Err(
                Problem::unprocessable("too-many-attachments", detail).with("max", FILES_MAX)
            );
        }
        let id = head.content_id();
        if let Some(other) = others().find(|file| id.is_some() && file.content_id.as_deref() == id)
        {
            let (id, other) = (id.unwrap_or_default(), &other.name);
            let detail = format!("content id {id:?}: the file {other:?} has it already");
            return Err(Problem::unprocessable("bad-attachment", detail).with("field", "inline"));
        }
        let taken = others().map(|file| file.octets).sum();
        Ok(Self { octets_max: config.attachments_bytes_max, taken })
    }

    /// How long the file may be.
    pub(crate) fn octets(&self) -> u64 {
        self.octets_max.saturating_sub(self.taken)
    }

    pub(crate) fn take(&self, octets: u64) -> Answer<()> {
        if octets > self.octets() { Err(self.too_large()) } else { Ok(()) }
    }

    pub(crate) fn too_large(&self) -> Problem {
        let Self { octets_max, taken } = self;
        let detail = format!(
            "a campaign's attachments have at most {octets_max} octets together; its others have \
             {taken}, so there is room for {}: make it smaller, or link to it",
            self.octets()
        );
        Problem::too_large(detail).with("max", *octets_max).with("room", self.octets())
    }
}

pub(crate) fn bad(error: &FileError) -> Problem {
    let field = match error {
        FileError::Name { .. } => "name",
        FileError::MediaType { .. } => "content-type",
        FileError::ContentId { .. } => "inline",
    };
    Problem::unprocessable("bad-attachment", error.to_string()).with("field", field)
}

/// Brings a body to the store, piece by piece. What does not arrive whole is deleted.
pub(crate) async fn receive(
    app: &App,
    id: CampaignId,
    head: &FileHead,
    room: &Room,
    body: Body,
) -> Answer<FileRecord> {
    let key = random_name().map_err(|e| Problem::internal(&e))?;
    let mut file = FileRecord {
        name: head.name().to_owned(),
        media_type: head.media_type().to_owned(),
        content_id: head.content_id().map(str::to_owned),
        octets: 0,
        sha256: String::new(),
        key,
    };
    let received = pieces(app, id, &mut file, room, body).await;
    if received.is_err() && file.octets > 0 {
        // It goes by itself, too, when this fails.
        let _ = app.store.delete_files(id, &[file.clone()]).await;
    }
    received.map(|()| file)
}

async fn pieces(
    app: &App,
    id: CampaignId,
    file: &mut FileRecord,
    room: &Room,
    body: Body,
) -> Answer<()> {
    let (mut digest, mut stream) = (Context::new(&SHA256), body.into_data_stream());
    let mut piece = Vec::with_capacity(FILE_PIECE_OCTETS);
    let mut number = 0;
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(app.config.upload_idle(), stream.next()) => next,
            () = app.stop.cancelled() => return Err(silent()),
        };
        let octets = match next.map_err(|_| silent())? {
            None => break,
            Some(octets) => octets.map_err(|_| body::broken_off())?,
        };
        room.take(file.octets + octets.len() as u64)?;
        file.octets += octets.len() as u64;
        digest.update(&octets);
        let mut rest = &octets[..];
        while !rest.is_empty() {
            let fits = (FILE_PIECE_OCTETS - piece.len()).min(rest.len());
            piece.extend_from_slice(&rest[..fits]);
            rest = &rest[fits..];
            if piece.len() == FILE_PIECE_OCTETS {
                app.store.put_file_piece(id, &file.key, number, &piece).await?;
                piece.clear();
                number += 1;
            }
        }
    }
    if file.octets == 0 {
        let detail = format!("file {:?} has no octets: send it as the body", file.name);
        return Err(Problem::unprocessable("bad-attachment", detail).with("field", "body"));
    }
    if !piece.is_empty() {
        app.store.put_file_piece(id, &file.key, number, &piece).await?;
    }
    file.sha256 = digest.finish().as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Ok(())
}

fn silent() -> Problem {
    let detail = "the upload was silent for too long; send the file again";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "silent", detail)
}

/// Whether two files are one, wherever their octets lie.
pub(crate) fn is_same(one: &FileRecord, other: &FileRecord) -> bool {
    let of = |file: &FileRecord| {
        (file.media_type.clone(), file.content_id.clone(), file.octets, file.sha256.clone())
    };
    of(one) == of(other)
}

pub(crate) fn unmatched(campaign: &Campaign) -> Unmatched {
    let ids: Vec<&str> = campaign.files.iter().filter_map(|f| f.content_id.as_deref()).collect();
    Unmatched::find(campaign.record.template.html.as_deref(), &ids)
}

/// What must hold before a draft is closed: every image that its HTML shows is there, and every
/// file is whole.
pub(crate) async fn check(app: &App, campaign: &Campaign) -> Answer<()> {
    let missing = unmatched(campaign).missing;
    if let Some(first) = missing.first() {
        let detail = format!(
            "the html shows \"cid:{first}\", and no attachment has that content id: put the \
             image with ?inline={first}, or take it out of the html"
        );
        return Err(Problem::unprocessable("missing-attachment", detail).with("missing", missing));
    }
    let gone = app.store.keep_files(campaign.id, &campaign.files).await?;
    if let Some(first) = gone.first() {
        let detail = format!("the file {first:?} did not arrive whole: put it again");
        return Err(Problem::unprocessable("missing-attachment", detail).with("missing", gone));
    }
    Ok(())
}

pub(crate) fn view(file: &FileRecord) -> Value {
    json!({
        "name": file.name,
        "media_type": file.media_type,
        "inline": file.content_id,
        "octets": file.octets,
        "sha256": file.sha256,
    })
}

pub(crate) fn views(files: &[FileRecord]) -> Vec<Value> {
    files.iter().map(view).collect()
}
