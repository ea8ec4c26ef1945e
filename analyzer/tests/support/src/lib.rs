//! Support for the tests of the analyzer: captures made by hand, HTTP/2 peers, and programs of
//! others that check the output.

pub mod frames;
pub mod golden;
pub mod h2_peers;
pub mod manual;
pub mod packets;
pub mod records;
pub mod tools;
pub mod wireshark;
