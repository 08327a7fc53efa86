//! The kernel's counters (`struct netns_mib`), under the kernel's names.
//!
//! IPv4 and IPv6 share one list for IP, as in the kernel (`IPSTATS_MIB_*`); `render` prints each family's part under the
//! names of its own file.

mod render;

/// Declares one group of counters: an enum of the kernel's names, and an array to count in.
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($variant:ident,)+ }) => {
        $(#[$meta])*
        #[expect(missing_docs, reason = "the names are documented in snmp_counter.rst and in the kernel's uapi/linux/snmp.h")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($variant,)+ }

        impl Counted for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($variant),)+];
            type Values = [u64; <$name as Counted>::NAMES.len()];

            fn zeros() -> Self::Values {
                [0; <$name as Counted>::NAMES.len()]
            }

            #[inline]
            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

/// A group of counters.
pub trait Counted: Copy + 'static {
    /// The names, in the order of declaration.
    const NAMES: &'static [&'static str];
    /// A value for each: an array.
    type Values: AsRef<[u64]> + AsMut<[u64]> + std::fmt::Debug + Clone + PartialEq + Eq;

    /// None of them has moved.
    fn zeros() -> Self::Values;

    /// The counter's place in the group.
    fn index(self) -> usize;
}

/// The values of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<C: Counted> {
    values: C::Values,
}

impl<C: Counted> Default for Group<C> {
    fn default() -> Self {
        Group { values: C::zeros() }
    }
}

impl<C: Counted> Group<C> {
    /// Adds one.
    #[inline]
    pub fn count(&mut self, counter: C) {
        self.add(counter, 1);
    }

    /// Adds an amount; wraps around as the kernel's do.
    #[inline]
    pub fn add(&mut self, counter: C, amount: u64) {
        if let Some(value) = self.values.as_mut().get_mut(counter.index()) {
            *value = value.wrapping_add(amount);
        }
    }

    /// Takes one off: for `CurrEstab`, which is a gauge.
    pub fn uncount(&mut self, counter: C) {
        if let Some(value) = self.values.as_mut().get_mut(counter.index()) {
            *value = value.wrapping_sub(1);
        }
    }

    /// The value.
    #[inline]
    pub fn of(&self, counter: C) -> u64 {
        self.values
            .as_ref()
            .get(counter.index())
            .copied()
            .unwrap_or(0)
    }

    /// Every counter by its name, in the order of declaration.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let values = self.values.as_ref().iter();
        C::NAMES.iter().copied().zip(values.copied())
    }

    /// The value of the counter with this name; nothing where there is none.
    pub fn named(&self, name: &str) -> Option<u64> {
        let index = C::NAMES.iter().position(|known| *known == name)?;
        self.values.as_ref().get(index).copied()
    }
}

counters! {
    /// IP (`IPSTATS_MIB_*`), for both families.
    IpCounter {
        InReceives,
        InHdrErrors,
        InTooBigErrors,
        InNoRoutes,
        InAddrErrors,
        InUnknownProtos,
        InTruncatedPkts,
        InDiscards,
        InDelivers,
        ForwDatagrams,
        OutRequests,
        OutDiscards,
        OutNoRoutes,
        OutTransmits,
        ReasmTimeout,
        ReasmReqds,
        ReasmOKs,
        ReasmFails,
        ReasmOverlaps,
        FragOKs,
        FragFails,
        FragCreates,
        InMcastPkts,
        OutMcastPkts,
        InBcastPkts,
        OutBcastPkts,
        InOctets,
        OutOctets,
        InMcastOctets,
        OutMcastOctets,
        InBcastOctets,
        OutBcastOctets,
        InCsumErrors,
        InNoECTPkts,
        InECT1Pkts,
        InECT0Pkts,
        InCEPkts,
    }
}

counters! {
    /// ICMP for IPv4 (`ICMP_MIB_*`, and the types of `icmpmibmap`).
    IcmpCounter {
        InMsgs,
        InErrors,
        InCsumErrors,
        InDestUnreachs,
        InTimeExcds,
        InParmProbs,
        InSrcQuenchs,
        InRedirects,
        InEchos,
        InEchoReps,
        InTimestamps,
        InTimestampReps,
        InAddrMasks,
        InAddrMaskReps,
        OutMsgs,
        OutErrors,
        OutRateLimitGlobal,
        OutRateLimitHost,
        OutDestUnreachs,
        OutTimeExcds,
        OutParmProbs,
        OutSrcQuenchs,
        OutRedirects,
        OutEchos,
        OutEchoReps,
        OutTimestamps,
        OutTimestampReps,
        OutAddrMasks,
        OutAddrMaskReps,
    }
}

counters! {
    /// ICMPv6 (`ICMP6_MIB_*`, and the types of `icmp6type2name`).
    Icmp6Counter {
        InMsgs,
        InErrors,
        OutMsgs,
        OutErrors,
        InCsumErrors,
        OutRateLimitHost,
        InDestUnreachs,
        InPktTooBigs,
        InTimeExcds,
        InParmProblems,
        InEchos,
        InEchoReplies,
        InGroupMembQueries,
        InGroupMembResponses,
        InGroupMembReductions,
        InRouterSolicits,
        InRouterAdvertisements,
        InNeighborSolicits,
        InNeighborAdvertisements,
        InRedirects,
        InMLDv2Reports,
        OutDestUnreachs,
        OutPktTooBigs,
        OutTimeExcds,
        OutParmProblems,
        OutEchos,
        OutEchoReplies,
        OutGroupMembQueries,
        OutGroupMembResponses,
        OutGroupMembReductions,
        OutRouterSolicits,
        OutRouterAdvertisements,
        OutNeighborSolicits,
        OutNeighborAdvertisements,
        OutRedirects,
        OutMLDv2Reports,
    }
}

counters! {
    /// UDP (`UDP_MIB_*`), for both families.
    UdpCounter {
        InDatagrams,
        NoPorts,
        InErrors,
        OutDatagrams,
        RcvbufErrors,
        SndbufErrors,
        InCsumErrors,
        IgnoredMulti,
        MemErrors,
    }
}

counters! {
    /// TCP (`TCP_MIB_*`), for both families together.
    TcpCounter {
        ActiveOpens,
        PassiveOpens,
        AttemptFails,
        EstabResets,
        CurrEstab,
        InSegs,
        OutSegs,
        RetransSegs,
        InErrs,
        OutRsts,
        InCsumErrors,
    }
}

counters! {
    /// TCP and its like in Linux (`LINUX_MIB_*`), for both families together.
    TcpExtCounter {
        SyncookiesSent,
        SyncookiesRecv,
        SyncookiesFailed,
        EmbryonicRsts,
        PruneCalled,
        RcvPruned,
        OfoPruned,
        OutOfWindowIcmps,
        LockDroppedIcmps,
        ArpFilter,
        TW,
        TWRecycled,
        TWKilled,
        PAWSActive,
        PAWSEstab,
        BeyondWindow,
        TSEcrRejected,
        PAWSOldAck,
        PAWSTimewait,
        DelayedACKs,
        DelayedACKLocked,
        DelayedACKLost,
        ListenOverflows,
        ListenDrops,
        TCPHPHits,
        TCPPureAcks,
        TCPHPAcks,
        TCPRenoRecovery,
        TCPSackRecovery,
        TCPSACKReneging,
        TCPSACKReorder,
        TCPRenoReorder,
        TCPTSReorder,
        TCPFullUndo,
        TCPPartialUndo,
        TCPDSACKUndo,
        TCPLossUndo,
        TCPLostRetransmit,
        TCPRenoFailures,
        TCPSackFailures,
        TCPLossFailures,
        TCPFastRetrans,
        TCPSlowStartRetrans,
        TCPTimeouts,
        TCPLossProbes,
        TCPLossProbeRecovery,
        TCPRenoRecoveryFail,
        TCPSackRecoveryFail,
        TCPRcvCollapsed,
        TCPBacklogCoalesce,
        TCPDSACKOldSent,
        TCPDSACKOfoSent,
        TCPDSACKRecv,
        TCPDSACKOfoRecv,
        TCPAbortOnData,
        TCPAbortOnClose,
        TCPAbortOnMemory,
        TCPAbortOnTimeout,
        TCPAbortOnLinger,
        TCPAbortFailed,
        TCPMemoryPressures,
        TCPMemoryPressuresChrono,
        TCPSACKDiscard,
        TCPDSACKIgnoredOld,
        TCPDSACKIgnoredNoUndo,
        TCPSpuriousRTOs,
        TCPMD5NotFound,
        TCPMD5Unexpected,
        TCPMD5Failure,
        TCPSackShifted,
        TCPSackMerged,
        TCPSackShiftFallback,
        TCPBacklogDrop,
        PFMemallocDrop,
        TCPMinTTLDrop,
        TCPDeferAcceptDrop,
        IPReversePathFilter,
        TCPTimeWaitOverflow,
        TCPReqQFullDoCookies,
        TCPReqQFullDrop,
        TCPRetransFail,
        TCPRcvCoalesce,
        TCPOFOQueue,
        TCPOFODrop,
        TCPOFOMerge,
        TCPChallengeACK,
        TCPSYNChallenge,
        TCPFastOpenActive,
        TCPFastOpenActiveFail,
        TCPFastOpenPassive,
        TCPFastOpenPassiveFail,
        TCPFastOpenListenOverflow,
        TCPFastOpenCookieReqd,
        TCPFastOpenBlackhole,
        TCPSpuriousRtxHostQueues,
        BusyPollRxPackets,
        TCPAutoCorking,
        TCPFromZeroWindowAdv,
        TCPToZeroWindowAdv,
        TCPWantZeroWindowAdv,
        TCPSynRetrans,
        TCPOrigDataSent,
        TCPHystartTrainDetect,
        TCPHystartTrainCwnd,
        TCPHystartDelayDetect,
        TCPHystartDelayCwnd,
        TCPACKSkippedSynRecv,
        TCPACKSkippedPAWS,
        TCPACKSkippedSeq,
        TCPACKSkippedFinWait2,
        TCPACKSkippedTimeWait,
        TCPACKSkippedChallenge,
        TCPWinProbe,
        TCPKeepAlive,
        TCPMTUPFail,
        TCPMTUPSuccess,
        TCPDelivered,
        TCPDeliveredCE,
        TCPAckCompressed,
        TCPZeroWindowDrop,
        TCPRcvQDrop,
        TCPWqueueTooBig,
        TCPFastOpenPassiveAltKey,
        TcpTimeoutRehash,
        TcpDuplicateDataRehash,
        TCPDSACKRecvSegs,
        TCPDSACKIgnoredDubious,
        TCPMigrateReqSuccess,
        TCPMigrateReqFailure,
        TCPPLBRehash,
        TCPAORequired,
        TCPAOBad,
        TCPAOKeyNotFound,
        TCPAOGood,
        TCPAODroppedIcmps,
    }
}

/// All counters of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// IPv4.
    pub ip4: Group<IpCounter>,
    /// IPv6.
    pub ip6: Group<IpCounter>,
    /// ICMP.
    pub icmp: Group<IcmpCounter>,
    /// Messages by type and direction, as `IcmpMsg` shows them: in, out.
    pub icmp_types: [std::collections::BTreeMap<u8, u64>; 2],
    /// ICMPv6.
    pub icmp6: Group<Icmp6Counter>,
    /// Messages by type and direction: in, out.
    pub icmp6_types: [std::collections::BTreeMap<u8, u64>; 2],
    /// UDP over IPv4.
    pub udp4: Group<UdpCounter>,
    /// UDP over IPv6.
    pub udp6: Group<UdpCounter>,
    /// TCP.
    pub tcp: Group<TcpCounter>,
    /// TCP's extensions.
    pub tcp_ext: Group<TcpExtCounter>,
}

impl Counters {
    /// The IP counters of one family.
    #[inline]
    pub fn ip(&mut self, version: transect_config::IpVersion) -> &mut Group<IpCounter> {
        match version {
            transect_config::IpVersion::V4 => &mut self.ip4,
            transect_config::IpVersion::V6 => &mut self.ip6,
        }
    }

    /// The UDP counters of one family.
    #[inline]
    pub fn udp(&mut self, version: transect_config::IpVersion) -> &mut Group<UdpCounter> {
        match version {
            transect_config::IpVersion::V4 => &mut self.udp4,
            transect_config::IpVersion::V6 => &mut self.udp6,
        }
    }
}
