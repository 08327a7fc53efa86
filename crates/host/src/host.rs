//! One host: the calls that go in and the results that come out.

use transect_config::HostConfig;
use transect_config::rules::RuleSet;
use transect_path::Timestamp;

use crate::counters::Counters;
use crate::device::{DeviceId, DeviceKind, Features};
use crate::link::Link;
use crate::netfilter::Netfilter;
use crate::packet::Packet;
use crate::settings::{SettingError, Settings};
use crate::socket::{Event, SocketId};
use crate::stack::{Death, Stack, StackParts, Tapped, TimerOwner};
use crate::tcp::{BlackHole, Tcp};
use crate::timer::Ticks;
use crate::transport::Transport;

/// A device to be made, beside `lo`, which every host has. Name, MAC address and MTU stand in the configuration's links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSetup {
    /// The link's name.
    pub name: String,
    /// What kind.
    pub kind: DeviceKind,
    /// Its offloads.
    pub features: Features,
}

/// Everything that a host begins with.
#[derive(Debug, Clone)]
pub struct HostSetup {
    /// The host's number in its world.
    pub number: u16,
    /// Links, addresses, routes, neighbours, qdiscs, settings that differ from the defaults.
    pub config: HostConfig,
    /// Netfilter's rules.
    pub rules: RuleSet,
    /// The devices, in the order of their indexes, from 2 on.
    pub devices: Vec<DeviceSetup>,
    /// From which everything is drawn that the kernel draws at random.
    pub seed: u64,
    /// `CONFIG_HZ`.
    pub hz: u32,
    /// The moment of tick 0.
    pub boot: Timestamp,
    /// Whether packets carry their journeys.
    pub journeys: bool,
}

/// Why a host cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// A setting.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A device that the configuration's links do not have, or something like it.
    #[error("{0}")]
    Other(String),
}

/// A model host.
#[derive(Debug)]
pub struct Host {
    pub(crate) stack: Stack,
    pub(crate) tcp: Tcp,
    pub(crate) transport: Transport,
    /// An empty list, for what is freed: see [`Host::account_freed`].
    freed: Vec<(SocketId, usize)>,
}

impl Host {
    /// A host that has just booted.
    ///
    /// # Errors
    /// A setting that the model does not know, a device without a link.
    pub fn new(setup: HostSetup) -> Result<Self, SetupError> {
        let names = setup.config.links.iter().flatten();
        let settings = Settings::new(names.map(|link| link.name.as_str()), &setup.config.sysctls)?;
        let mut config = setup.config;
        config.sysctls = settings.sysctls().clone();
        let link = Link::new(&config, &setup.devices).map_err(SetupError::Other)?;
        let netfilter = Netfilter::new(setup.rules).map_err(SetupError::Other)?;
        Ok(Host {
            stack: Stack::new(StackParts {
                number: setup.number,
                now: setup.boot,
                ticks: Ticks::new(setup.hz, setup.boot),
                config,
                settings,
                seed: setup.seed,
                link,
                netfilter,
                journeys: setup.journeys,
            }),
            tcp: Tcp::default(),
            transport: Transport::default(),
            freed: Vec::new(),
        })
    }

    /// A frame arrives from the wire at a device.
    pub fn handle_frame(&mut self, now: Timestamp, device: DeviceId, frame: Packet) {
        self.begin(now);
        self.stack.receive_frame(device, frame);
        self.run();
    }

    /// Handles every deadline that has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.begin(now);
        while let Some(owner) = self.stack.timers.pop_due(now) {
            match owner {
                TimerOwner::Tcp(socket) => self.tcp.handle_timer(&mut self.stack, socket),
                TimerOwner::TimeWait(number) => {
                    self.tcp.handle_time_wait_timer(&mut self.stack, number);
                }
                TimerOwner::Neighbor(entry) => self.stack.handle_neighbor_timer(entry),
                TimerOwner::Qdisc(device) => self.stack.run_qdisc(device),
                TimerOwner::Reassembly(queue) => self.stack.handle_reassembly_timer(queue),
                TimerOwner::Groups(device) => self.stack.handle_group_timer(device),
                TimerOwner::InitialReports(device) => self.stack.report_initially(device),
                TimerOwner::Address(device, address) => {
                    self.stack.handle_address_timer(device, address);
                }
                TimerOwner::Routers(device) => self.stack.handle_router_timer(device),
            }
            self.run();
        }
    }

    /// The next frame that leaves the host, with the device by which it leaves. To be asked until there is none, behind every
    /// call that passes a moment.
    pub fn poll_transmit(&mut self) -> Option<(DeviceId, Packet)> {
        self.stack.link.poll_transmit()
    }

    /// What programs are to be told, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.stack.events.pop_front()
    }

    /// What the taps showed, in order.
    pub fn poll_tapped(&mut self) -> Option<Tapped> {
        self.stack.tapped.pop_front()
    }

    /// What died, in order; only where [`Host::keep_deaths`] asked for it.
    pub fn poll_death(&mut self) -> Option<Death> {
        self.stack.deaths.pop_front()
    }

    /// Whether deaths are kept for [`Host::poll_death`].
    pub fn keep_deaths(&mut self, keep: bool) {
        self.stack.keep_deaths = keep;
    }

    /// When [`Host::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.stack.timers.next()
    }

    /// The host's counters.
    pub fn counters(&self) -> &Counters {
        &self.stack.counters
    }

    /// The host's configuration as it stands.
    pub fn config(&self) -> &HostConfig {
        &self.stack.config
    }

    /// Changes a sysctl.
    ///
    /// # Errors
    /// A name that the model does not know, or a value that it cannot take.
    pub fn set_sysctl(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        self.stack.settings.set(name, value)?;
        self.stack.config.sysctls = self.stack.settings.sysctls().clone();
        self.stack.ip.forget_routes();
        if name == "net.ipv4.tcp_fastopen_blackhole_timeout_sec" {
            // `proc_tfo_blackhole_detect_timeout`
            self.stack.black_hole = BlackHole::default();
        }
        if name.starts_with("net.ipv6.conf.") && name.ends_with(".forwarding") {
            self.stack.forwarding_changed();
        }
        Ok(())
    }

    /// Changes routes, neighbours, addresses or links, as `ip` does while the host runs. Settings are changed by
    /// [`Host::set_sysctl`].
    pub fn reconfigure(&mut self, now: Timestamp, change: impl FnOnce(&mut HostConfig)) {
        self.begin(now);
        let before = self.stack.config.clone();
        change(&mut self.stack.config);
        self.stack.ip.forget_routes();
        self.stack.link_reconfigured();
        self.stack.addresses_changed(&before);
        self.run();
    }

    /// The moment of a call; time never runs backwards.
    pub(crate) fn begin(&mut self, now: Timestamp) {
        self.stack.now = self.stack.now.max(now);
    }

    /// Works off what waits inside of the host (softirq): received packets, and room in send buffers.
    #[inline]
    pub(crate) fn run(&mut self) {
        if self.stack.has_work() || self.tcp.has_throttled() {
            self.work_off();
        }
    }

    fn work_off(&mut self) {
        loop {
            self.account_freed();
            let received = self.stack.next_received();
            if let Some(packet) = received.or_else(|| self.stack.ip.next_looped()) {
                self.ip_input(packet);
                continue;
            }
            if !self.tcp.handle_throttled(&mut self.stack) {
                break;
            }
        }
    }

    /// Gives the memory of freed packets back to their sockets (`skb->destructor`).
    fn account_freed(&mut self) {
        match self.stack.freed.as_slice() {
            [] => return,
            [one] => {
                let (socket, bytes) = *one;
                self.stack.freed.clear();
                self.handle_freed(socket, bytes);
                return;
            }
            _ => {}
        }
        // The list itself is used again.
        let mut freed = std::mem::take(&mut self.freed);
        std::mem::swap(&mut freed, &mut self.stack.freed);
        for (socket, bytes) in freed.drain(..) {
            self.handle_freed(socket, bytes);
        }
        self.freed = freed;
    }

    fn handle_freed(&mut self, socket: SocketId, bytes: usize) {
        if !self.tcp.handle_freed(socket, bytes) {
            self.transport.handle_freed(&mut self.stack, socket, bytes);
        }
    }
}
