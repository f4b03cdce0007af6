//! Text that does not say in which charset it is, or says it wrongly.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GBK, IBM866, ISO_2022_JP, ISO_8859_5, KOI8_U, SHIFT_JIS,
    WINDOWS_1251, WINDOWS_1252,
};

/// What a guess is believed in: where it is wrong nothing can be read at all. Latin charsets of
/// Europe differ in a few letters, which short texts do not tell apart, and which are folded away
/// before anything is looked for.
const FAR: [&Encoding; 11] = [
    BIG5,
    EUC_JP,
    EUC_KR,
    GBK,
    IBM866,
    ISO_2022_JP,
    ISO_8859_5,
    KOI8_U,
    SHIFT_JIS,
    WINDOWS_1251,
    WINDOWS_1252,
];

/// How ISO-2022-JP (RFC 1468) begins what is not ASCII: in seven bits, so that it passes for UTF-8.
const TO_TWO_OCTETS: &str = "\u{1b}$";

/// Whether a text that was taken for UTF-8 is something else.
pub(super) fn is_misread(text: &str) -> bool {
    text.contains('\u{fffd}') || text.contains(TO_TWO_OCTETS)
}

/// UTF-8; or else what it looks like among the charsets of East Asia and of Cyrillic; or else
/// Windows-1252, of which Latin-1 is a part.
pub(super) fn decode(raw: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(raw) {
        Ok(text) if !text.contains(TO_TWO_OCTETS) => Cow::Borrowed(text),
        _ => guessed(raw).decode_without_bom_handling(raw).0,
    }
}

fn guessed(raw: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(raw, true);
    let guess = detector.guess(None, Utf8Detection::Deny);
    if FAR.contains(&guess) { guess } else { WINDOWS_1252 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undeclared_text_of_the_east_is_read() {
        let cases: [(&Encoding, &str); 8] = [
            (SHIFT_JIS, "送信先のメールアドレスが見つかりませんでした。\nユーザーが存在しません。"),
            (EUC_JP, "メールボックスの容量制限を超えているため、配送できませんでした。"),
            (ISO_2022_JP, "以下のメールアドレスに送信できませんでした。"),
            (GBK, "收件人邮箱不存在，邮件被退回。请检查收件人地址是否正确。"),
            (BIG5, "收件人的信箱已滿，無法投遞您的郵件。請稍後再試。"),
            (EUC_KR, "받는 사람의 메일 주소가 존재하지 않아 메일을 보내지 못했습니다."),
            (KOI8_U, "Почтовый ящик не существует. Сообщение не доставлено."),
            (WINDOWS_1251, "Ящик получателя переполнен, письмо не доставлено адресату."),
        ];
        for (charset, text) in cases {
            let (octets, _, _) = charset.encode(text);
            assert_eq!(decode(&octets), text, "{}", charset.name());
        }
    }

    /// However short the sentence.
    #[test]
    fn latin_text_is_never_taken_for_anything_else() {
        const FRENCH: &str = include_str!("../../../docs/GUIDE.fr.md");
        let words: Vec<&str> = FRENCH.split_whitespace().collect();
        let sentences = [3, 8].into_iter().flat_map(|many| words.chunks(many));
        let mut seen = 0;
        for sentence in sentences.map(|words| words.join(" ")) {
            let (octets, _, is_lossy) = WINDOWS_1252.encode(&sentence);
            if !is_lossy && !octets.is_ascii() {
                assert_eq!(decode(&octets), sentence);
                seen += 1;
            }
        }
        assert!(seen > 500, "only {seen} sentences");
    }
}
