//! A file that all messages of a campaign carry: what it may be called, and its MIME header.
//! The octets are `shared`'s.

use std::borrow::Cow;
use std::fmt::Write as _;

use mime::Mime;

/// Files of one campaign. Readers show a list of them, and nobody reads a longer one.
pub const FILES_MAX: usize = 32;
/// Octets of a file's name: what file systems take.
pub const FILE_NAME_OCTETS_MAX: usize = 255;
/// Octets of a media type with its parameters: one line, with room for what surrounds it.
const MEDIA_TYPE_OCTETS_MAX: usize = 200;
/// Octets of a Content-ID; it stands in a line of its own.
const CONTENT_ID_OCTETS_MAX: usize = 128;
/// Octets of one piece of a name that is percent-encoded, so that its line stays below 78.
const ENCODED_PIECE_MAX: usize = 54;

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// No name for a file.
    #[error("file name {name:?}: {why}")]
    Name {
        /// The name, cut short.
        name: String,
        /// What is wrong with it.
        why: Cow<'static, str>,
    },
    /// No media type that a part of a message can have.
    #[error("media type {media_type:?}: {why}")]
    MediaType {
        /// The media type, cut short.
        media_type: String,
        /// What is wrong with it.
        why: Cow<'static, str>,
    },
    /// No Content-ID that HTML can refer to as it stands.
    #[error(
        "content id {id:?}: it is 1 to {CONTENT_ID_OCTETS_MAX} letters, digits and . _ + -, and may have one @ between them"
    )]
    ContentId {
        /// The Content-ID, cut short.
        id: String,
    },
}

/// What is known of a file beside its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHead {
    name: String,
    media_type: Mime,
    content_id: Option<String>,
}

impl FileHead {
    /// A file of this name and media type (RFC 2045, 5.1). With a `content_id` it is shown where
    /// the HTML says `cid:` and that id (RFC 2392); without, it is an attachment.
    ///
    /// # Errors
    /// When one of them cannot stand in a message, or would mislead who reads it.
    pub fn new(name: &str, media_type: &str, content_id: Option<&str>) -> Result<Self, FileError> {
        check_name(name)?;
        let media_type = check_media_type(media_type)?;
        if let Some(id) = content_id.filter(|id| !is_content_id(id)) {
            return Err(FileError::ContentId { id: cut_short(id) });
        }
        Ok(Self { name: name.to_owned(), media_type, content_id: content_id.map(str::to_owned) })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its media type with its parameters.
    #[must_use]
    pub fn media_type(&self) -> &str {
        self.media_type.as_ref()
    }

    /// What the HTML calls it after `cid:`, where it is shown in it.
    #[must_use]
    pub fn content_id(&self) -> Option<&str> {
        self.content_id.as_deref()
    }

    /// The header of its part, with the empty line that ends it.
    pub(crate) fn header(&self) -> String {
        let mut header = format!("Content-Type: {}", self.media_type.essence_str());
        for (name, value) in self.media_type.params() {
            let _ = write!(header, ";\r\n {name}=");
            word(&mut header, value.as_str());
        }
        header.push_str("\r\nContent-Transfer-Encoding: base64\r\n");
        if let Some(id) = &self.content_id {
            let _ = write!(header, "Content-ID: <{id}>\r\n");
        }
        header.push_str("Content-Disposition: ");
        header.push_str(if self.content_id.is_some() { "inline" } else { "attachment" });
        file_name(&mut header, &self.name);
        header.push_str("\r\n\r\n");
        header
    }
}

fn check_name(name: &str) -> Result<(), FileError> {
    let refuse = |why: Cow<'static, str>| Err(FileError::Name { name: cut_short(name), why });
    if name.trim().is_empty() {
        return refuse("it is empty: give the name that recipients see".into());
    }
    if name.len() > FILE_NAME_OCTETS_MAX {
        let octets = name.len();
        return refuse(
            format!("{octets} octets are too many, at most {FILE_NAME_OCTETS_MAX} are taken")
                .into(),
        );
    }
    if let Some(bad) = name.chars().find(|c| matches!(c, '/' | '\\')) {
        return refuse(format!("{bad:?} separates folders: give the name alone").into());
    }
    if let Some(bad) = name.chars().find(|c| c.is_control() || is_invisible(*c)) {
        return refuse(format!("{bad:?} is a control character: remove it").into());
    }
    if name != name.trim() || matches!(name, "." | "..") {
        return refuse("it begins or ends with a blank, or names a folder".into());
    }
    Ok(())
}

/// Ends of lines and changes of direction: `gnp.exe` would be shown as `exe.png`.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn check_media_type(text: &str) -> Result<Mime, FileError> {
    let refuse =
        |why: Cow<'static, str>| Err(FileError::MediaType { media_type: cut_short(text), why });
    if text.len() > MEDIA_TYPE_OCTETS_MAX {
        let octets = text.len();
        return refuse(
            format!("{octets} octets are too many, at most {MEDIA_TYPE_OCTETS_MAX} are taken")
                .into(),
        );
    }
    if !text.bytes().all(|b| matches!(b, b' '..=b'~')) || text.contains("  ") {
        return refuse("it is printable ASCII on one line, without double blanks".into());
    }
    let parsed: Mime = match text.parse() {
        Ok(parsed) => parsed,
        Err(error) => return refuse(format!("{error}: write it as image/png").into()),
    };
    if parsed.type_() == mime::STAR || parsed.subtype() == mime::STAR {
        return refuse("* is no type: write it as image/png".into());
    }
    // Base64 is not allowed for either (RFC 2045, 6.4), and both would be taken apart on the way.
    if matches!(parsed.type_().as_str(), "multipart" | "message") {
        return refuse(
            "a message within the message is not taken: send it as application/zip".into(),
        );
    }
    if parsed.params().any(|(_, value)| value.as_str().contains(['"', '\\'])) {
        return refuse("a parameter with a quotation mark or a backslash is not taken".into());
    }
    Ok(parsed)
}

fn is_content_id(id: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
    };
    id.len() <= CONTENT_ID_OCTETS_MAX
        && id.split_once('@').map_or_else(|| plain(id), |(left, right)| plain(left) && plain(right))
}

fn cut_short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A parameter's value: a token, or quoted (RFC 2045, 5.1).
fn word(out: &mut String, value: &str) {
    let token = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b);
    if !value.is_empty() && value.bytes().all(token) {
        out.push_str(value);
    } else {
        let _ = write!(out, "\"{value}\"");
    }
}

/// The parameter `filename` (RFC 2183, 2.3), in the extended form of RFC 2231 where it is not
/// plain ASCII. Runs of blanks would not stay as they are in a signed message.
fn file_name(out: &mut String, name: &str) {
    let is_plain = name.bytes().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\'));
    if is_plain && !name.contains("  ") {
        let _ = write!(out, ";\r\n filename=\"{name}\"");
        return;
    }
    let pieces = percent_encoded(name);
    if let [whole] = pieces.as_slice() {
        let _ = write!(out, ";\r\n filename*=utf-8''{whole}");
        return;
    }
    for (i, piece) in pieces.iter().enumerate() {
        let charset = if i == 0 { "utf-8''" } else { "" };
        let _ = write!(out, ";\r\n filename*{i}*={charset}{piece}");
    }
}

/// RFC 2231, 7: all but `attribute-char` in hexadecimal; cut between characters.
fn percent_encoded(name: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for c in name.chars() {
        let mut written = String::new();
        if c.is_ascii_alphanumeric() || "!#$&+-.^_`{|}~".contains(c) {
            written.push(c);
        } else {
            let mut octets = [0; 4];
            for octet in c.encode_utf8(&mut octets).bytes() {
                let _ = write!(written, "%{octet:02X}");
            }
        }
        match pieces.last_mut() {
            Some(last) if last.len() + written.len() <= ENCODED_PIECE_MAX => {
                last.push_str(&written)
            }
            _ => pieces.push(written),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, media_type: &str, id: Option<&str>) -> String {
        FileHead::new(name, media_type, id).expect_err("refused").to_string()
    }

    #[test]
    fn names_that_mislead_or_break_out_are_quoted_back() {
        for (name, says) in [
            ("", "file name \"\": it is empty"),
            (" ", "it is empty"),
            ("a/b.png", "'/' separates folders"),
            ("..\\b.png", "'\\\\' separates folders"),
            ("a\r\nBcc: b", "file name \"a\\r\\nBcc: b\": '\\r' is a control character"),
            ("a\u{202e}gnp.exe", "'\\u{202e}' is a control character"),
            ("..", "names a folder"),
            (&"x".repeat(256), "256 octets are too many, at most 255 are taken"),
        ] {
            assert!(refused(name, "image/png", None).contains(says), "{name:?} {says}");
        }
        assert!(FileHead::new(&"x".repeat(255), "image/png", None).is_ok());
        assert!(FileHead::new("Übersicht (2026).pdf", "application/pdf", None).is_ok());
    }

    #[test]
    fn media_types_that_break_mime_are_quoted_back() {
        for (media_type, says) in [
            ("", "media type \"\""),
            ("png", "media type \"png\""),
            ("image/*", "* is no type"),
            ("multipart/mixed; boundary=x", "a message within the message"),
            ("Message/RFC822", "a message within the message"),
            ("image/png\r\nBcc: b", "media type \"image/png\\r\\nBcc: b\": it is printable ASCII"),
            ("text/plain; charset=\"a\\b\"", "a quotation mark"),
            (&format!("image/{}", "x".repeat(200)), "206 octets are too many"),
        ] {
            let said = refused("a.png", media_type, None);
            assert!(said.contains(says), "{media_type:?}: {said}");
        }
    }

    #[test]
    fn content_ids_are_what_html_can_say_as_it_stands() {
        for id in ["logo", "logo.1@news.example", "a_b-c+d"] {
            assert!(FileHead::new("a.png", "image/png", Some(id)).is_ok(), "{id}");
        }
        for id in ["", "a b", "<logo>", "a@b@c", "@a", "logo\r\n", "é"] {
            assert!(
                refused("a.png", "image/png", Some(id)).starts_with(&format!("content id {id:?}"))
            );
        }
    }

    #[test]
    fn a_header_says_what_the_file_is_and_how_it_is_called() {
        let header = |name: &str, media_type: &str, id: Option<&str>| {
            FileHead::new(name, media_type, id).expect("a file").header()
        };
        assert_eq!(
            header("prices 2026.csv", "text/csv; charset=utf-8; header=\"a b\"", None),
            "Content-Type: text/csv;\r\n charset=utf-8;\r\n header=\"a b\"\r\n\
             Content-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n filename=\"prices 2026.csv\"\r\n\r\n"
        );
        assert_eq!(
            header("été \"x\".png", "image/png", Some("logo@news.example")),
            "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\
             Content-ID: <logo@news.example>\r\n\
             Content-Disposition: inline;\r\n filename*=utf-8''%C3%A9t%C3%A9%20%22x%22.png\r\n\r\n"
        );
        let long = header(&"漢".repeat(85), "image/png", None);
        assert!(long.contains("filename*0*=utf-8''%E6%BC%A2") && long.contains("filename*14*="));
        assert!(long.split("\r\n").all(|line| line.len() <= 78), "{long}");
    }
}
