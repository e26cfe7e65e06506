//! Text of bounded length, which needs no memory of its own.

#[derive(Clone, Copy)]
pub(super) struct Text<const BYTES: usize> {
    pub(super) length: u16,
    pub(super) bytes: [u8; BYTES],
}

impl<const BYTES: usize> Text<BYTES> {
    pub(super) fn set(&mut self, text: &str) {
        let mut end = text.len().min(BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        self.length = end as u16;
    }

    pub(super) fn get(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}
