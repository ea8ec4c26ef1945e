//! NSS, whose TLS is a layer of NSPR's descriptors: NSPR reads and writes for every kind of
//! descriptor, so the kernel side looks for the layer (`bpf/nspr.h`).

use super::function::Count::Result;
use super::function::{Function, Kind, Output, Param, Side, Text};
use super::library::{Family, Library, SSL3_OF_PROTOCOL};
use sslrec_formats::record::Direction::{Received, Sent};
use sslrec_formats::record::Role;

pub(super) const LIBRARY: Library = Library {
    family: Family::Nss,
    name: "NSS",
    kinds: &["nss"],
    option: "no-nss",
    members: "NSS",
    sonames: &["libssl3.so", "libnspr4.so"],
    functions: FUNCTIONS,
    ssl3: SSL3_OF_PROTOCOL,
    has_self_test: false,
    is_split: true,
};

/// `PR_AcceptRead` is absent on purpose: on TLS it reads by `PR_Recv`. On TLS, `PR_SendFile` and
/// `PR_TransmitFile` also send by other functions of the table; the rest is a gap.
const FUNCTIONS: &[Function] = &[
    Function::new("PR_Read", Kind::Data(Received, Result)).nspr(),
    Function::new("PR_Write", Kind::Data(Sent, Result)).nspr(),
    Function::new("PR_Recv", Kind::Data(Received, Result)).nspr().peeks(),
    Function::new("PR_Send", Kind::Data(Sent, Result)).nspr(),
    Function::new("PR_Writev", Kind::Data(Sent, Result)).nspr().vector(),
    Function::new("PR_SendFile", Kind::Sendfile).nspr(),
    Function::new("PR_TransmitFile", Kind::Sendfile).nspr(),
    Function::new("PR_Connect", Kind::Role).role(Role::Client).nspr(),
    Function::new("PR_Accept", Kind::Create(Output::Number)).role(Role::Server).nspr(),
    Function::new("PR_Shutdown", Kind::Shutdown).nspr(),
    Function::new("PR_Close", Kind::Free).nspr(),
    Function::new("SSL_ImportFD", Kind::Create(Output::Number)).nspr_layer(),
    Function::new("SSL_ResetHandshake", Kind::Role).side(Side::AsServer),
    Function::new("SSL_ForceHandshake", Kind::Handshake(0)),
    Function::new("SSL_SetURL", Kind::ServerName(Text::to_nul(2))),
    Function::new("SSL_GetChannelInfo", Kind::Get(Param::VersionAndCipher, Output::Channel)),
];
