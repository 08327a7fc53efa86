//! The `SIOCETHTOOL` ioctl: a driver's own statistics and a device's offload features (include/uapi/linux/ethtool.h).
//!
//! The driver's statistics have no netlink equivalent. Only commands that read are here.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const SIOCETHTOOL: u64 = 0x8946;
/// ETH_SS_STATS, ETH_SS_FEATURES.
const SET_STATS: u32 = 1;
const SET_FEATURES: u32 = 4;
/// ETH_GSTRING_LEN.
const NAME: usize = 32;
/// The most entries of a set that are read; large NICs have some thousands.
const ENTRIES: usize = 65_536;
/// Entries that a set may grow by between asking for its size and reading it (queues can be added meanwhile). The kernel
/// writes as many as the set has *then*, whatever it was told.
const SLACK: usize = 16_384;

/// One offload feature of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffloadFeature {
    /// The kernel's name, such as `tx-checksum-ipv4`.
    pub name: String,
    /// Whether it is on.
    pub on: bool,
    /// Whether it was asked for; it may be asked for and off for want of another.
    pub requested: bool,
    /// Whether nobody can change it.
    pub fixed: bool,
}

/// Asks for what devices say, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Ethtool {
    socket: OwnedFd,
}

impl Ethtool {
    /// Opens the socket that carries the requests.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Ethtool { socket })
    }

    /// The driver's statistics as `ethtool -S` prints them, in the driver's order.
    ///
    /// # Errors
    /// `EOPNOTSUPP` when the driver has none, `ENODEV` when the interface went away.
    pub fn statistics(&self, interface: &str) -> io::Result<Vec<(String, u64)>> {
        let names = self.names(interface, SET_STATS)?;
        // struct ethtool_stats: cmd, n_stats, data[].
        let mut buffer = Buffer::new(8, 8, names.len());
        buffer.put(0, ETHTOOL_GSTATS);
        buffer.put(4, clamp(names.len()));
        self.request(interface, &mut buffer)?;
        let count = buffer.get(4).min(names.len());
        Ok(names
            .into_iter()
            .take(count)
            .enumerate()
            .map(|(index, name)| (name, buffer.long(8 + index * 8)))
            .collect())
    }

    /// The offload features, in the kernel's order (`netdev_features_strings`).
    ///
    /// # Errors
    /// `ENODEV` when the interface went away.
    pub fn features(&self, interface: &str) -> io::Result<Vec<OffloadFeature>> {
        let names = self.names(interface, SET_FEATURES)?;
        // struct ethtool_gfeatures: cmd, size, blocks of { available, requested, active, never_changed } for 32 each.
        let blocks = names.len().div_ceil(32);
        let mut buffer = Buffer::new(8, 16, blocks);
        buffer.put(0, ETHTOOL_GFEATURES);
        buffer.put(4, clamp(blocks));
        self.request(interface, &mut buffer)?;
        let features = names.into_iter().enumerate().map(|(index, name)| {
            let bit = |word: usize| {
                let value = buffer.get(8 + (index / 32) * 16 + word * 4);
                value >> (index % 32) & 1 == 1
            };
            OffloadFeature {
                name,
                on: bit(2),
                requested: bit(1),
                fixed: !bit(0) || bit(3),
            }
        });
        Ok(features
            .filter(|feature| !feature.name.is_empty())
            .collect())
    }

    /// The names of a set.
    fn names(&self, interface: &str, set: u32) -> io::Result<Vec<String>> {
        // struct ethtool_sset_info: cmd, reserved, sset_mask (u64), data[].
        let mut info = Buffer::new(16, 4, 1);
        info.put(0, ETHTOOL_GSSET_INFO);
        info.put_long(8, 1 << set);
        self.request(interface, &mut info)?;
        let count = match info.long(8) {
            0 => return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
            _ => info.get(16),
        };
        if count > ENTRIES {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        // struct ethtool_gstrings: cmd, string_set, len, data[].
        let mut buffer = Buffer::new(12, NAME, count);
        buffer.put(0, ETHTOOL_GSTRINGS);
        buffer.put(4, set);
        buffer.put(8, clamp(count));
        self.request(interface, &mut buffer)?;
        let count = buffer.get(8).min(count);
        Ok((0..count)
            .map(|index| {
                let name = buffer.bytes(12 + index * NAME, NAME);
                let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
                String::from_utf8_lossy(name.get(..end).unwrap_or_default()).into_owned()
            })
            .collect())
    }

    fn request(&self, interface: &str, buffer: &mut Buffer) -> io::Result<()> {
        if interface.len() >= libc::IFNAMSIZ {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        // SAFETY: ifreq is a C structure of integers, arrays and pointers; all zeros is a valid value of it.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (place, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *place = libc::c_char::from_ne_bytes([byte]);
        }
        request.ifr_ifru.ifru_data = buffer.words.as_mut_ptr().cast();
        // SAFETY: `request` lives through the call and its name ends with a zero (checked above). `ifru_data` points to
        // a buffer that is exclusively borrowed, aligned for u64, and holds the command's header, as many entries as the
        // kernel announced for the set and `SLACK` more, which is all that the reading commands above write.
        let result = unsafe {
            libc::ioctl(
                self.socket.as_raw_fd(),
                // The type of the request differs between C libraries.
                SIOCETHTOOL as _,
                &raw mut request,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

fn clamp(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A command with room for its answer, aligned as the kernel's structures are.
struct Buffer {
    words: Vec<u64>,
}

impl Buffer {
    fn new(header: usize, entry: usize, count: usize) -> Self {
        let bytes = header + entry * (count + SLACK);
        Buffer {
            words: vec![0; bytes.div_ceil(8)],
        }
    }

    fn put(&mut self, offset: usize, value: u32) {
        let (word, upper) = (offset / 8, !offset.is_multiple_of(8));
        if let Some(word) = self.words.get_mut(word) {
            let mut bytes = word.to_ne_bytes();
            let place = if upper { 4 } else { 0 };
            bytes[place..place + 4].copy_from_slice(&value.to_ne_bytes());
            *word = u64::from_ne_bytes(bytes);
        }
    }

    fn put_long(&mut self, offset: usize, value: u64) {
        if let Some(word) = self.words.get_mut(offset / 8) {
            *word = value;
        }
    }

    fn get(&self, offset: usize) -> usize {
        let bytes: [u8; 4] = self.bytes(offset, 4).try_into().unwrap_or_default();
        usize::try_from(u32::from_ne_bytes(bytes)).unwrap_or(usize::MAX)
    }

    fn long(&self, offset: usize) -> u64 {
        let bytes: [u8; 8] = self.bytes(offset, 8).try_into().unwrap_or_default();
        u64::from_ne_bytes(bytes)
    }

    fn bytes(&self, offset: usize, length: usize) -> Vec<u8> {
        (offset..offset + length)
            .map(|at| {
                self.words
                    .get(at / 8)
                    .map_or(0, |word| word.to_ne_bytes()[at % 8])
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_they_were_put() {
        let mut buffer = Buffer::new(16, 4, 1);
        buffer.put(0, 0x0102_0304);
        buffer.put(4, 7);
        buffer.put_long(8, 1 << 40);
        assert_eq!((buffer.get(0), buffer.get(4)), (0x0102_0304, 7));
        assert_eq!(buffer.long(8), 1 << 40);
    }

    #[test]
    fn the_loopback_has_features() {
        let features = Ethtool::open().unwrap().features("lo").unwrap();
        let scatter = features.iter().find(|one| one.name == "tx-scatter-gather");
        assert!(scatter.is_some_and(|one| one.on), "{features:?}");
    }

    #[test]
    fn an_unknown_interface_is_an_error() {
        let error = Ethtool::open()
            .unwrap()
            .statistics("no-such-if")
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        let error = Ethtool::open()
            .unwrap()
            .features("a-name-that-is-too-long")
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
