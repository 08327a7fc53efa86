//! Which families of counters there are, and which counters every kernel of the last years has.

use transect_path::named_enum;

named_enum! {
    /// A family of counters that the kernel shows in /proc/net/snmp, netstat and snmp6; the front part of a flat name.
    pub enum Family {
        /// IPv4.
        Ip => "Ip",
        /// ICMP.
        Icmp => "Icmp",
        /// ICMP by type.
        IcmpMsg => "IcmpMsg",
        /// TCP, of IPv4 and IPv6.
        Tcp => "Tcp",
        /// UDP over IPv4.
        Udp => "Udp",
        /// UDP-Lite over IPv4.
        UdpLite => "UdpLite",
        /// TCP, what the MIB of the RFCs has not, and some of IP.
        TcpExt => "TcpExt",
        /// IPv4, what the MIB of the RFCs has not.
        IpExt => "IpExt",
        /// Multipath TCP.
        MpTcpExt => "MPTcpExt",
        /// SCTP.
        Sctp => "Sctp",
        /// IPv6.
        Ip6 => "Ip6",
        /// ICMPv6, by type too.
        Icmp6 => "Icmp6",
        /// UDP over IPv6.
        Udp6 => "Udp6",
        /// UDP-Lite over IPv6.
        UdpLite6 => "UdpLite6",
    }
}

impl Family {
    /// The family of a flat name such as `TcpExtListenDrops`: the longest that fits.
    pub fn of(name: &str) -> Option<Family> {
        let rest_is_a_name = |family: &&Family| {
            name.strip_prefix(family.id())
                .and_then(|rest| rest.bytes().next())
                .is_some_and(|first| first.is_ascii_uppercase())
        };
        Family::ALL
            .iter()
            .filter(rest_is_a_name)
            .max_by_key(|family| family.id().len())
            .copied()
    }

    /// The counters of this family that kernels have had since 6.1 at the latest, by their names without the family.
    ///
    /// Younger ones (`IpOutTransmits`, `TcpExtBeyondWindow`, …) are left out, so that their absence is not taken for zero.
    const fn names(self) -> &'static str {
        match self {
            Family::Ip => {
                "\
                DefaultTTL ForwDatagrams Forwarding FragCreates FragFails FragOKs InAddrErrors InDelivers InDiscards \
                InHdrErrors InReceives InUnknownProtos OutDiscards OutNoRoutes OutRequests ReasmFails ReasmOKs \
                ReasmReqds ReasmTimeout"
            }
            Family::Icmp => {
                "\
                InAddrMaskReps InAddrMasks InCsumErrors InDestUnreachs InEchoReps InEchos InErrors InMsgs \
                InParmProbs InRedirects InSrcQuenchs InTimeExcds InTimestampReps InTimestamps OutAddrMaskReps \
                OutAddrMasks OutDestUnreachs OutEchoReps OutEchos OutErrors OutMsgs OutParmProbs OutRedirects \
                OutSrcQuenchs OutTimeExcds OutTimestampReps OutTimestamps"
            }
            Family::Tcp => {
                "\
                ActiveOpens AttemptFails CurrEstab EstabResets InCsumErrors InErrs InSegs MaxConn OutRsts OutSegs \
                PassiveOpens RetransSegs RtoAlgorithm RtoMax RtoMin"
            }
            Family::Udp => {
                "\
                IgnoredMulti InCsumErrors InDatagrams InErrors MemErrors NoPorts OutDatagrams RcvbufErrors \
                SndbufErrors"
            }
            Family::UdpLite => {
                "\
                IgnoredMulti InCsumErrors InDatagrams InErrors MemErrors NoPorts OutDatagrams RcvbufErrors \
                SndbufErrors"
            }
            Family::TcpExt => {
                "\
                ArpFilter BusyPollRxPackets DelayedACKLocked DelayedACKLost DelayedACKs EmbryonicRsts \
                IPReversePathFilter ListenDrops ListenOverflows LockDroppedIcmps OfoPruned OutOfWindowIcmps \
                PAWSActive PAWSEstab PFMemallocDrop PruneCalled RcvPruned SyncookiesFailed SyncookiesRecv \
                SyncookiesSent TCPACKSkippedChallenge TCPACKSkippedFinWait2 TCPACKSkippedPAWS TCPACKSkippedSeq \
                TCPACKSkippedSynRecv TCPACKSkippedTimeWait TCPAbortFailed TCPAbortOnClose TCPAbortOnData \
                TCPAbortOnLinger TCPAbortOnMemory TCPAbortOnTimeout TCPAckCompressed TCPAutoCorking \
                TCPBacklogCoalesce TCPBacklogDrop TCPChallengeACK TCPDSACKIgnoredDubious TCPDSACKIgnoredNoUndo \
                TCPDSACKIgnoredOld TCPDSACKOfoRecv TCPDSACKOfoSent TCPDSACKOldSent TCPDSACKRecv TCPDSACKRecvSegs \
                TCPDSACKUndo TCPDeferAcceptDrop TCPDelivered TCPDeliveredCE TCPFastOpenActive TCPFastOpenActiveFail \
                TCPFastOpenBlackhole TCPFastOpenCookieReqd TCPFastOpenListenOverflow TCPFastOpenPassive \
                TCPFastOpenPassiveAltKey TCPFastOpenPassiveFail TCPFastRetrans TCPFromZeroWindowAdv TCPFullUndo \
                TCPHPAcks TCPHPHits TCPHystartDelayCwnd TCPHystartDelayDetect TCPHystartTrainCwnd \
                TCPHystartTrainDetect TCPKeepAlive TCPLossFailures TCPLossProbeRecovery TCPLossProbes TCPLossUndo \
                TCPLostRetransmit TCPMD5Failure TCPMD5NotFound TCPMD5Unexpected TCPMTUPFail TCPMTUPSuccess \
                TCPMemoryPressures TCPMemoryPressuresChrono TCPMigrateReqFailure TCPMigrateReqSuccess TCPMinTTLDrop \
                TCPOFODrop TCPOFOMerge TCPOFOQueue TCPOrigDataSent TCPPartialUndo TCPPureAcks TCPRcvCoalesce \
                TCPRcvCollapsed TCPRcvQDrop TCPRenoFailures TCPRenoRecovery TCPRenoRecoveryFail TCPRenoReorder \
                TCPReqQFullDoCookies TCPReqQFullDrop TCPRetransFail TCPSACKDiscard TCPSACKReneging TCPSACKReorder \
                TCPSYNChallenge TCPSackFailures TCPSackMerged TCPSackRecovery TCPSackRecoveryFail \
                TCPSackShiftFallback TCPSackShifted TCPSlowStartRetrans TCPSpuriousRTOs TCPSpuriousRtxHostQueues \
                TCPSynRetrans TCPTSReorder TCPTimeWaitOverflow TCPTimeouts TCPToZeroWindowAdv TCPWantZeroWindowAdv \
                TCPWinProbe TCPWqueueTooBig TCPZeroWindowDrop TW TWKilled TcpDuplicateDataRehash TcpTimeoutRehash"
            }
            Family::IpExt => {
                "\
                InBcastOctets InBcastPkts InCEPkts InCsumErrors InECT0Pkts InECT1Pkts InMcastOctets InMcastPkts \
                InNoECTPkts InNoRoutes InOctets InTruncatedPkts OutBcastOctets OutBcastPkts OutMcastOctets \
                OutMcastPkts OutOctets ReasmOverlaps"
            }
            Family::Ip6 => {
                "\
                FragCreates FragFails FragOKs InAddrErrors InBcastOctets InCEPkts InDelivers InDiscards InECT0Pkts \
                InECT1Pkts InHdrErrors InMcastOctets InMcastPkts InNoECTPkts InNoRoutes InOctets InReceives \
                InTooBigErrors InTruncatedPkts InUnknownProtos OutBcastOctets OutDiscards OutForwDatagrams \
                OutMcastOctets OutMcastPkts OutNoRoutes OutOctets OutRequests ReasmFails ReasmOKs ReasmReqds \
                ReasmTimeout"
            }
            Family::Icmp6 => {
                "\
                InCsumErrors InDestUnreachs InEchoReplies InEchos InErrors InGroupMembQueries InGroupMembReductions \
                InGroupMembResponses InMLDv2Reports InMsgs InNeighborAdvertisements InNeighborSolicits \
                InParmProblems InPktTooBigs InRedirects InRouterAdvertisements InRouterSolicits InTimeExcds \
                OutDestUnreachs OutEchoReplies OutEchos OutErrors OutGroupMembQueries OutGroupMembReductions \
                OutGroupMembResponses OutMLDv2Reports OutMsgs OutNeighborAdvertisements OutNeighborSolicits \
                OutParmProblems OutPktTooBigs OutRedirects OutRouterAdvertisements OutRouterSolicits OutTimeExcds"
            }
            Family::Udp6 => {
                "\
                IgnoredMulti InCsumErrors InDatagrams InErrors MemErrors NoPorts OutDatagrams RcvbufErrors \
                SndbufErrors"
            }
            Family::UdpLite6 => {
                "\
                InCsumErrors InDatagrams InErrors MemErrors NoPorts OutDatagrams RcvbufErrors SndbufErrors"
            }
            Family::IcmpMsg | Family::MpTcpExt | Family::Sctp => "",
        }
    }
}

/// True for a counter that every kernel since 6.1 has, so that a tool that leaves out zeros means zero by leaving it out.
pub(super) fn in_every_kernel(name: &str) -> bool {
    Family::of(name).is_some_and(|family| {
        let rest = name.strip_prefix(family.id()).unwrap_or_default();
        family
            .names()
            .split_ascii_whitespace()
            .any(|known| known == rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_family_fits() {
        assert_eq!(Family::of("IpInReceives"), Some(Family::Ip));
        assert_eq!(Family::of("IpExtInOctets"), Some(Family::IpExt));
        assert_eq!(Family::of("Ip6InReceives"), Some(Family::Ip6));
        assert_eq!(Family::of("IcmpMsgInType3"), Some(Family::IcmpMsg));
        assert_eq!(Family::of("Icmp6InType135"), Some(Family::Icmp6));
        assert_eq!(Family::of("TcpExtTcpTimeoutRehash"), Some(Family::TcpExt));
        assert_eq!(Family::of("link.eth0.rx_packets"), None);
        assert_eq!(Family::of("Tcp"), None);
    }

    #[test]
    fn young_counters_are_not_taken_for_known() {
        assert!(in_every_kernel("TcpExtListenDrops"));
        assert!(in_every_kernel("Icmp6InDestUnreachs"));
        assert!(!in_every_kernel("IpOutTransmits"));
        assert!(!in_every_kernel("Ip6OutTransmits"));
        assert!(!in_every_kernel("TcpExtNoSuch"));
    }
}
