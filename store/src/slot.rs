//! The hash slot of a key, as Redis Cluster counts it.

/// Slots of a cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// CRC16 (XMODEM) of what stands between the first braces, or of the whole key.
pub(crate) fn slot_of(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty())
        .unwrap_or(key);
    let crc = tag.bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::slot_of;

    #[test]
    fn slots_are_those_that_redis_counts() {
        // Answers of `CLUSTER KEYSLOT`.
        let known = [("123456789", 12739), ("foo", 12182), ("{mp:7}:meta", slot_of("mp:7"))];
        for (key, slot) in known {
            assert_eq!(slot_of(key), slot, "{key}");
        }
        assert_eq!(slot_of("{}a"), slot_of("{}a"));
        assert_ne!(slot_of("{}a"), slot_of("{}b"), "empty braces are no tag");
    }
}
