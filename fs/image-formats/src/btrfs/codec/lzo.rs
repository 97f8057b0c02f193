//! LZO1X as Btrfs packs it: each sector of the file by itself, in a segment with its length before it.
//!
//! Spec: <https://docs.kernel.org/staging/lzo.html> for the streams, and the comment in the kernel's
//! `fs/btrfs/lzo.c` for the segments: a length of all of them, and before each its own, which lies within one sector.
//!
//! Why own code: of the crates that unpack LZO, `lzo1x` is under the GPL, `lzokay-native` sets no bound to what comes
//! out, and `rust-lzo1x` is young; a decoder is one function.

use super::Damage;

const SECTOR: usize = 4096;
/// Bytes of a length.
const LENGTH: usize = 4;
/// What the far matches' distances start from; this distance itself ends a stream.
const FAR: usize = 16_384;
/// What the distances of matches of three bytes behind a run of literals start from.
const NEAR_END: usize = 2049;

/// Unpacks segments to the beginning of `out` until it is full; gives how many bytes they hold.
pub(super) fn unpack(packed: &[u8], out: &mut [u8]) -> Result<usize, Damage> {
    let total = length(packed, 0)?;
    let packed = packed
        .get(..usize::try_from(total).unwrap_or(usize::MAX))
        .ok_or(Damage::CutOff(total))?;
    let mut sector = [0; SECTOR];
    let (mut at, mut done) = (LENGTH, 0_usize);
    while at < packed.len() && done < out.len() {
        let end_of_sector = at.next_multiple_of(SECTOR);
        if end_of_sector.saturating_sub(at) < LENGTH {
            at = end_of_sector;
        }
        let size = length(packed, at)?;
        let start = at.saturating_add(LENGTH);
        let end = usize::try_from(size)
            .ok()
            .and_then(|size| start.checked_add(size));
        let end = end.ok_or(Damage::CutOff(size))?;
        let segment = packed.get(start..end).ok_or(Damage::CutOff(size))?;
        let len = Stream::new(segment, &mut sector)
            .unpack()
            .ok_or(Damage::Malformed)?;
        let rest = out.get_mut(done..).unwrap_or_default();
        let len = len.min(rest.len());
        rest[..len].copy_from_slice(&sector[..len]);
        (at, done) = (end, done.saturating_add(len));
    }
    Ok(done)
}

fn length(packed: &[u8], at: usize) -> Result<u32, Damage> {
    let bytes = packed.get(at..).and_then(<[u8]>::first_chunk);
    Ok(u32::from_le_bytes(*bytes.ok_or(Damage::Malformed)?))
}

/// A stream of literals and matches, and what came out of it.
struct Stream<'a> {
    packed: &'a [u8],
    out: &'a mut [u8],
    done: usize,
}

impl<'a> Stream<'a> {
    fn new(packed: &'a [u8], out: &'a mut [u8]) -> Self {
        Self { packed, out, done: 0 }
    }

    /// Unpacks to the mark at the end; gives how many bytes come out, or `None` of what is no stream.
    fn unpack(mut self) -> Option<usize> {
        // Literals before the instruction: none, one to three, or a run, which counts as four.
        let mut literals = 0;
        if let Some(first) = self.packed.first().and_then(|first| first.checked_sub(17))
            && first > 0
        {
            self.byte()?;
            self.literals(first.into())?;
            literals = first.min(4);
        }
        loop {
            let code = self.byte()?;
            let bits = usize::from(code);
            let (len, distance, tail) = match code {
                0..16 if literals == 0 => {
                    let len = self.long(bits, 15)?.checked_add(3)?;
                    self.literals(len)?;
                    literals = 4;
                    continue;
                }
                0..16 => {
                    let (len, base) = if literals == 4 { (3, NEAR_END) } else { (2, 1) };
                    let high = usize::from(self.byte()?) << 2;
                    (len, (high | bits >> 2).checked_add(base)?, bits)
                }
                16..64 => {
                    let mask = if code < 32 { 7 } else { 31 };
                    let len = self.long(bits & mask, mask)?.checked_add(2)?;
                    let pair = usize::from(self.byte()?) | usize::from(self.byte()?) << 8;
                    let far = if code < 32 { FAR | (bits & 8) << 11 } else { 1 };
                    let distance = far.checked_add(pair >> 2)?;
                    if code < 32 && distance == FAR {
                        return self.packed.is_empty().then_some(self.done);
                    }
                    (len, distance, pair)
                }
                64.. => {
                    let (base, bit) = if code < 128 { (3, 1) } else { (5, 3) };
                    let len = (bits >> 5 & bit).checked_add(base)?;
                    let high = usize::from(self.byte()?) << 3;
                    (len, (high | bits >> 2 & 7).checked_add(1)?, bits)
                }
            };
            self.repeat(len, distance)?;
            self.literals(tail & 3)?;
            literals = u8::try_from(tail & 3).ok()?;
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.packed.split_first()?;
        self.packed = rest;
        Some(*first)
    }

    /// A length that, if 0, is continued by bytes: 255 for each zero, and the first that is none.
    fn long(&mut self, len: usize, base: usize) -> Option<usize> {
        if len > 0 {
            return Some(len);
        }
        let mut len = base;
        loop {
            match self.byte()? {
                0 => len = len.checked_add(255)?,
                last => return len.checked_add(last.into()),
            }
        }
    }

    fn literals(&mut self, len: usize) -> Option<()> {
        let (literals, rest) = self.packed.split_at_checked(len)?;
        let end = self.done.checked_add(len)?;
        self.out.get_mut(self.done..end)?.copy_from_slice(literals);
        (self.packed, self.done) = (rest, end);
        Some(())
    }

    /// Repeats what came out before; what is repeated may itself be part of it.
    fn repeat(&mut self, len: usize, distance: usize) -> Option<()> {
        let from = self.done.checked_sub(distance)?;
        let end = self.done.checked_add(len)?;
        self.out.get(..end)?;
        for at in 0..len {
            let byte = *self.out.get(from.checked_add(at)?)?;
            *self.out.get_mut(self.done.checked_add(at)?)? = byte;
        }
        self.done = end;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &[u8] = b"\x11\0\0";

    /// Streams of each kind of instruction, without the mark at the end, and what comes out of them.
    fn streams() -> Vec<(&'static [u8], Vec<u8>)> {
        vec![
            // Five literals; four bytes from five bytes before.
            (b"\x16abcde\x70\x00", b"abcdeabcd".to_vec()),
            // Six bytes that repeat the one before, and a literal behind them.
            (b"\x15abcd\xa1\x00x", b"abcdddddddx".to_vec()),
            // A long match, two literals, and two bytes from two bytes before.
            (
                b"\x12a\x20\x09\x02\x00yz\x04\x00",
                [&[b'a'; 43][..], b"yzyz"].concat(),
            ),
            // A run of literals, and behind it three bytes from 2049 bytes before.
            (
                b"\x15bcde\x20\x00\x00\x00\x00\x00\x00\x00\xfe\x00\x00\x01FGHI\x00\x00",
                [b"bcd", &[b'e'; 2073][..], b"FGHIeee"].concat(),
            ),
            (
                b"\x00\x03nineteen and one.....",
                b"nineteen and one.....".to_vec(),
            ),
        ]
    }

    /// Segments with their lengths, none of which passes the end of a sector.
    fn packed(streams: &[&[u8]]) -> Vec<u8> {
        let mut packed = vec![0; LENGTH];
        for stream in streams {
            let in_sector = SECTOR - packed.len() % SECTOR;
            let padding = if in_sector < LENGTH { in_sector } else { 0 };
            packed.resize(packed.len() + padding, 0);
            packed.extend(u32::try_from(stream.len()).unwrap().to_le_bytes());
            packed.extend(*stream);
        }
        let total = u32::try_from(packed.len()).unwrap().to_le_bytes();
        packed[..LENGTH].copy_from_slice(&total);
        packed
    }

    #[test]
    fn each_kind_of_instruction_is_followed() {
        for (stream, expected) in streams() {
            let packed = packed(&[&[stream, END].concat()]);
            let mut out = vec![0xff; SECTOR];
            assert_eq!(
                unpack(&packed, &mut out),
                Ok(expected.len()),
                "{}",
                stream.escape_ascii()
            );
            assert!(out[..expected.len()] == expected, "{}", stream.escape_ascii());
            // What is cut ends early, but never comes out whole.
            for len in 0..packed.len() {
                assert!(unpack(&packed[..len], &mut out).is_err(), "cut at {len}");
            }
        }
    }

    #[test]
    fn segments_follow_each_other_up_to_the_end_of_the_extent() {
        let streams: Vec<Vec<u8>> = streams()
            .iter()
            .map(|(stream, _)| [stream, END].concat())
            .collect();
        // So many that a length does not fit behind the last byte of a sector.
        let many: Vec<&[u8]> = streams.iter().cycle().take(2000).map(Vec::as_slice).collect();
        let packed = packed(&many);
        assert!(packed.len() > 2 * SECTOR);
        let whole: Vec<u8> = self::streams()
            .into_iter()
            .cycle()
            .take(2000)
            .flat_map(|(_, out)| out)
            .collect();
        for len in [whole.len() + 10, whole.len(), 5000, 3, 0] {
            let mut out = vec![0; len];
            let expected = len.min(whole.len());
            assert_eq!(unpack(&packed, &mut out), Ok(expected));
            assert!(out[..expected] == whole[..expected]);
        }
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        for stream in [
            &b"\x16abcde\x70\x01\x11\0\0"[..],
            b"\x16abcde\x70\x00\x11\0\0more",
            b"\x16abcde",
            b"\x00\x00\x00",
            b"",
        ] {
            let unpacked = unpack(&packed(&[stream]), &mut [0; SECTOR]);
            assert_eq!(unpacked, Err(Damage::Malformed), "{}", stream.escape_ascii());
        }
        // More than a sector.
        let long = [&b"\x12a\x20"[..], &[0; 20], b"\x01\x00\x00", END].concat();
        let mut out = [0; 2 * SECTOR];
        assert_eq!(unpack(&packed(&[&long]), &mut out), Err(Damage::Malformed));
        let mut cut = packed(&[END]);
        cut[LENGTH] = 9;
        assert_eq!(unpack(&cut, &mut out), Err(Damage::CutOff(9)));
        cut[0] = 200;
        assert_eq!(unpack(&cut, &mut out), Err(Damage::CutOff(200)));
    }
}
