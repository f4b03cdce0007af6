//! The providers that are part of the program: the files of `ops/providers`.

use super::File;

macro_rules! files {
    ($($name:literal,)*) => {
        &[$(($name, include_str!(concat!("../../../ops/providers/", $name, ".toml"))),)*]
    };
}

/// A test finds what is in the folder and not here.
const FILES: &[(&str, &str)] = files! {
    "apple",
    "barracuda",
    "comcast",
    "free",
    "gmail",
    "gmx",
    "kpn",
    "laposte",
    "mail-com",
    "microsoft-365",
    "microsoft-365-dane",
    "mimecast",
    "netease",
    "netvigator",
    "orange",
    "outlook",
    "qq",
    "sfr",
    "yahoo",
    "yahoo-japan",
    "yandex",
};

/// The files that are part of the program, to be read or written out.
#[must_use]
pub fn shipped_files() -> Vec<File> {
    let file = |(name, text): &(&str, &str)| File { name: (*name).into(), text: (*text).into() };
    FILES.iter().map(file).collect()
}
