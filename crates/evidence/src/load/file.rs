//! Reading files that others made: bounded, decompressed, and as text whatever the bytes are.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::recognize::{HEAD, Kind, Unrecognized, recognize};

/// How much of one dump or log is read, in bytes; the rest is left out and that is told.
pub(super) const TEXT_LIMIT: u64 = 256 << 20;

/// A text as read from a file.
pub(super) struct Text {
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// The file was longer than [`TEXT_LIMIT`].
    pub cut: bool,
    /// The compressed data ended early or was damaged; the text is what came before.
    pub damage: Option<io::Error>,
}

/// Reads a dump or a log, decompressing it where it is compressed.
pub(super) fn read_text(path: &Path) -> io::Result<Text> {
    let reader = open(path)?;
    let mut bytes = Vec::new();
    let damage = reader
        .take(TEXT_LIMIT.saturating_add(1))
        .read_to_end(&mut bytes)
        .err();
    let cut = bytes.len() as u64 > TEXT_LIMIT;
    if cut {
        bytes.truncate(usize::try_from(TEXT_LIMIT).unwrap_or(usize::MAX));
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    Ok(Text { text, cut, damage })
}

/// Recognises a file by its content, looking into it where it is compressed.
pub(super) fn kind_of(path: &Path, name: &str) -> io::Result<Result<Kind, Unrecognized>> {
    let mut head = Vec::new();
    // Damage behind the first bytes is for the reader of the whole to tell.
    let read = open(path)?.take(HEAD as u64).read_to_end(&mut head);
    match read {
        Err(error) if head.is_empty() => Err(error),
        _ => Ok(recognize(&head, name)),
    }
}

/// The file's content, decompressed.
fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "expected a regular file",
        ));
    }
    let mut reader = BufReader::new(file);
    let head = reader.fill_buf()?;
    Ok(if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::bufread::MultiGzDecoder::new(reader))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(zstd::Decoder::with_buffer(reader)?)
    } else {
        Box::new(reader)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn compressed_texts_are_read_and_recognised_as_what_is_inside() {
        let folder = tempfile::tempdir().unwrap();
        let text = "#kernel\nIpInReceives                    4525               0.0\n";
        let zst = folder.path().join("a.zst");
        std::fs::write(&zst, zstd::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
        let gz = folder.path().join("a.gz");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        std::fs::write(&gz, encoder.finish().unwrap()).unwrap();
        for path in [&zst, &gz] {
            let read = read_text(path).unwrap();
            assert_eq!(read.text, text);
            assert!(!read.cut && read.damage.is_none());
            assert_eq!(kind_of(path, "a").unwrap(), Ok(Kind::Nstat));
        }
    }

    #[test]
    fn a_cut_compressed_text_gives_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gz");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        encoder.write_all(&[b'x'; 5000]).unwrap();
        let bytes = encoder.finish().unwrap();
        std::fs::write(&path, &bytes[..2000]).unwrap();
        let read = read_text(&path).unwrap();
        assert!(read.text.len() < 5000 && read.damage.is_some());
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"a\xffb").unwrap();
        assert_eq!(read_text(&path).unwrap().text, "a\u{fffd}b");
        assert!(read_text(folder.path()).is_err());
    }
}
