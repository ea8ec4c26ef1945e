//! The layers of link types and EtherTypes. The tables of IP protocols and UDP ports are beside the
//! tunnels.

use super::{Layer, ethernet, ip, link, ppp, tunnel, wireless};

/// Returns the first layer of packets of a link type, by its number in the registry of tcpdump.org.
pub(in crate::input) fn of_link_type(link_type: u32) -> Option<Layer> {
    Some(match link_type {
        0 | 108 => link::loopback,
        1 => ethernet::ethernet,
        6 => link::token_ring,
        // LINKTYPE_SLIP, with the header of BSD.
        8 => link::slip,
        9 => ppp::ppp,
        10 => link::fddi,
        // LINKTYPE_RAW, and the values of some systems; IPv4 and IPv6.
        12 | 14 | 101 | 228 | 229 => ip::any,
        // Classical IP over ATM: LLC, or IP alone.
        11 | 19 | 100 => link::atm,
        50 => ppp::hdlc,
        51 => ppp::over_ethernet,
        104 => ppp::cisco_hdlc,
        105 => wireless::frame,
        107 => ppp::frame_relay,
        109 => link::enc,
        113 => link::linux_cooked,
        117 => link::pflog,
        119 => wireless::prism,
        122 => link::fibre_channel,
        123 => link::sun_atm,
        127 => wireless::radiotap,
        138 => link::firewire,
        163 => wireless::avs,
        166 => ppp::of_pppd,
        192 => wireless::ppi,
        197 => link::endace,
        204 | 205 => ppp::with_direction,
        206 => ppp::frame_relay_with_direction,
        219 => ethernet::mpls,
        226 => link::ipnet,
        239 => link::nflog,
        240 => link::net_analyzer,
        241 => link::net_analyzer_transparent,
        258 => link::pktap,
        259 | 274 => link::preamble,
        276 => link::linux_cooked_2,
        281 | 283 => link::switch_tag::<4>,
        282 => link::before_frame::<4>,
        284 => link::switch_tag::<8>,
        _ => return None,
    })
}

/// Returns the layer of an EtherType.
pub(super) fn of_ether_type(ether_type: u16) -> Option<Layer> {
    Some(match ether_type {
        0x0800 => ip::v4,
        0x86dd => ip::v6,
        ether_type if ethernet::VLAN.contains(&ether_type) => ethernet::vlan,
        0x8847 | 0x8848 => ethernet::mpls,
        0x8864 => ppp::over_ethernet,
        0x880b => ppp::ppp,
        0x88e5 => ethernet::macsec,
        0x88e7 => ethernet::provider_backbone,
        0x8903 => ethernet::fabric_path,
        0x8926 => ethernet::vn_tag,
        0x893f => ethernet::e_tag,
        0xf1c1 => ethernet::redundancy_tag,
        0x22f3 => ethernet::trill,
        0x894f => tunnel::nsh,
        0x6558 => ethernet::ethernet,
        0x8870 => ethernet::jumbo_llc,
        _ => return None,
    })
}
