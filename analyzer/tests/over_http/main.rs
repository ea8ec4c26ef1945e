//! gRPC, WebSocket and server-sent events from records to what is listed of them.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod any;
mod events;
#[path = "../frames/mod.rs"]
mod frames;
mod grpc;
#[path = "../records/mod.rs"]
mod records;
mod support;
#[path = "../tools/mod.rs"]
mod tools;
mod websocket;
