//! gRPC, WebSocket and server-sent events from records to their listing.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod any;
mod events;
mod grpc;
mod support;
mod websocket;
