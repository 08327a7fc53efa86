//! A window onto a byte stream, decompressed when need be.

use std::fmt;
use std::io::{BufReader, Chain, Cursor, ErrorKind, Read};

use flate2::read::MultiGzDecoder;

use super::{CaptureError, MAX_FRAME_LENGTH};

/// What is read at once. Small enough to stay in the second-level cache while the frames in it are taken apart.
const BUFFER_LENGTH: usize = 256 * 1024;
/// The largest window that may be asked for: a frame with its headers and options.
pub(super) const MAX_WINDOW: usize = MAX_FRAME_LENGTH as usize + 128 * 1024;

/// The first bytes, read to see what the file is, and the rest.
type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

enum Source<R: Read> {
    Plain(Whole<R>),
    Gzip(Box<MultiGzDecoder<BufReader<Whole<R>>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Whole<R>>>>),
}

impl<R: Read> Source<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Source::Plain(reader) => reader.read(into),
            Source::Gzip(reader) => reader.read(into),
            Source::Zstd(reader) => reader.read(into),
        }
    }
}

/// The stream's bytes from `position` on, as many as are asked for.
pub(super) struct Input<R: Read> {
    name: String,
    source: Source<R>,
    buffer: Vec<u8>,
    /// The window's start in the buffer.
    start: usize,
    /// The end of what was read into the buffer.
    end: usize,
    /// The window's start in the (decompressed) file.
    position: u64,
    /// The source is exhausted, or failed.
    ended: bool,
    /// Why it failed; kept until somebody asks for bytes that are not there.
    failure: Option<std::io::Error>,
}

impl<R: Read> fmt::Debug for Input<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("name", &self.name)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Input<R> {
    pub(super) fn new(mut reader: R, name: &str) -> Result<Self, CaptureError> {
        let failed = |error: std::io::Error| CaptureError {
            name: name.to_owned(),
            offset: 0,
            expected: "a readable file".to_owned(),
            found: error.to_string(),
            source: Some(error),
        };
        let mut magic = Vec::with_capacity(4);
        (&mut reader)
            .take(4)
            .read_to_end(&mut magic)
            .map_err(failed)?;
        let compression = magic.clone();
        let whole = Cursor::new(magic).chain(reader);
        let source = match compression.as_slice() {
            [0x1f, 0x8b, ..] => Source::Gzip(Box::new(MultiGzDecoder::new(
                BufReader::with_capacity(BUFFER_LENGTH, whole),
            ))),
            // A frame of zstd, or a skippable one before it.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Source::Zstd(Box::new(
                zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(
                    BUFFER_LENGTH,
                    whole,
                ))
                .map_err(failed)?,
            )),
            _ => Source::Plain(whole),
        };
        Ok(Input {
            name: name.to_owned(),
            source,
            buffer: vec![0; BUFFER_LENGTH],
            start: 0,
            end: 0,
            position: 0,
            ended: false,
            failure: None,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The window's start in the file.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes are in the window now.
    pub(super) fn available(&self) -> usize {
        self.end - self.start
    }

    /// At least `length` bytes from the window's start, or nothing when the file ends before that.
    ///
    /// # Errors
    /// When more is asked for than any record may need.
    #[inline]
    pub(super) fn window(&mut self, length: usize) -> Result<Option<&[u8]>, CaptureError> {
        if self.end - self.start < length {
            self.fill(length)?;
        }
        let window = self.buffer.get(self.start..self.end).unwrap_or_default();
        Ok((window.len() >= length).then_some(window))
    }

    /// Part of the window; it must have been asked for before.
    #[inline]
    pub(super) fn buffered(&self, start: usize, length: usize) -> &[u8] {
        let start = self.start.saturating_add(start);
        self.buffer
            .get(start..start.saturating_add(length))
            .unwrap_or_default()
    }

    /// Moves the window's start on; what is moved over must be in the window.
    #[inline]
    pub(super) fn consume(&mut self, length: usize) {
        let length = length.min(self.end - self.start);
        self.start += length;
        self.position += length as u64;
    }

    /// Moves the window's start on over bytes that need not be in it. False when the file ends before that.
    pub(super) fn skip(&mut self, mut length: u64) -> bool {
        loop {
            let step = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(self.available());
            self.consume(step);
            length -= step as u64;
            if length == 0 {
                return true;
            }
            if self.ended || self.fill(1).is_err() || self.available() == 0 {
                return false;
            }
        }
    }

    #[cold]
    fn fill(&mut self, length: usize) -> Result<(), CaptureError> {
        if length > MAX_WINDOW {
            return Err(self.error(
                0,
                &format!("a record of at most {MAX_WINDOW} bytes"),
                format!("one of {length} bytes"),
            ));
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        while self.end < length && !self.ended {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    self.failure = Some(error);
                }
            }
        }
        Ok(())
    }

    /// The stream ended by an error of the reader or the decompressor, which has not been reported yet.
    pub(super) fn take_failure(&mut self) -> Option<std::io::Error> {
        self.failure.take()
    }

    /// An error `ahead` bytes behind the window's start.
    #[cold]
    pub(super) fn error(&mut self, ahead: u64, expected: &str, found: String) -> CaptureError {
        CaptureError {
            name: self.name.clone(),
            offset: self.position.saturating_add(ahead),
            expected: expected.to_owned(),
            found,
            source: None,
        }
    }

    /// The error for a file that ends where `expected` should stand; `needed` bytes from the window's start on.
    #[cold]
    pub(super) fn cut_off(&mut self, expected: &str, needed: u64) -> CaptureError {
        let available = self.available() as u64;
        let source = self.take_failure();
        let found = match &source {
            Some(error) => format!("{available} of {needed} bytes, then: {error}"),
            None => format!("the end of the file after {available} of {needed} bytes"),
        };
        CaptureError {
            source,
            ..self.error(0, expected, found)
        }
    }

    /// At the end of a record: the file may end here. Nothing when there is more to read.
    ///
    /// # Errors
    /// When it does not end but fails, as a truncated compressed file does.
    pub(super) fn end_of_records(&mut self) -> Result<bool, CaptureError> {
        if self.window(1)?.is_some() {
            return Ok(false);
        }
        match self.failure {
            Some(_) => Err(self.cut_off("the next record, or the end of the file", 1)),
            None => Ok(true),
        }
    }
}
