//! tshark's list of HTTP/2, with its default settings, from a capture as sslrec writes it.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use serde_json::Value;
use sslrec_analyzer_testing::h2_peers::{Random, Setup, run};
use sslrec_analyzer_testing::records::Script;
use sslrec_analyzer_testing::wireshark::{exchanges, have, tshark_lines};
use sslrec_formats::io::RecordWriter;
use sslrec_formats::pcapng::{PcapngOptions, PcapngWriter};
use sslrec_formats::record::CaptureInfo;

fn sorted(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut values: Vec<String> = values.collect();
    values.sort();
    values
}

#[test]
fn tshark_sees_the_same_requests_and_responses() {
    if !have(&["tshark"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for seed in [500, 503] {
        let mut random = Random(seed);
        let setup = Setup {
            client_table: 4096,
            server_table: [4096, 65_536][(seed % 2) as usize],
            max_frame: 16_384,
            parallel: 4,
            pipe: 1 << 16,
        };
        let (calls, plans) = run(setup, random.plans(40));
        let script =
            calls.iter().fold(Script::client(), |s, (dir, bytes)| s.data(*dir, bytes)).close();
        let file = dir.path().join(format!("{seed}.pcapng"));
        let out = std::fs::File::create(&file).unwrap();
        let mut writer =
            PcapngWriter::new(out, CaptureInfo::default(), PcapngOptions::default()).unwrap();
        script.records().iter().for_each(|record| writer.write(record).unwrap());
        writer.finish().unwrap();

        let listed = exchanges(env!("CARGO_BIN_EXE_sslanalyze"), &file);
        let tshark = |field: &str| tshark_lines(&file, &[], field, &[field]);
        assert_eq!(listed.len(), plans.len());
        let text = |value: &Value| value.as_str().map(str::to_owned).unwrap();
        let of_request = |key: &str| sorted(listed.iter().map(|e| text(&e["request"][key])));
        assert_eq!(of_request("method"), tshark("http2.headers.method"));
        assert_eq!(of_request("path"), tshark("http2.headers.path"));
        assert_eq!(of_request("authority"), tshark("http2.headers.authority"));
        let statuses = listed.iter().flat_map(|e| {
            let interim = e["interim"].as_array().cloned().unwrap_or_default();
            let all = interim.into_iter().chain([e["response"].clone()]);
            all.filter(|response| !response.is_null()).map(|r| r["status"].to_string())
        });
        assert_eq!(sorted(statuses), tshark("http2.headers.status"));
        for (name, field) in
            [("user-agent", "http2.headers.user_agent"), ("etag", "http2.headers.etag")]
        {
            let heads = listed.iter().flat_map(|e| {
                let parts = [
                    &e["request"]["headers"],
                    &e["request"]["trailers"],
                    &e["response"]["headers"],
                    &e["response"]["trailers"],
                ];
                let interim = e["interim"].as_array().cloned().unwrap_or_default();
                let interim = interim.into_iter().map(|interim| interim["headers"].clone());
                parts.into_iter().cloned().chain(interim).collect::<Vec<_>>()
            });
            let fields = heads.flat_map(|head| head.as_array().cloned().unwrap_or_default());
            let count = fields.filter(|field| field[0] == name).count();
            assert_eq!(count, tshark(field).len(), "{name}");
        }
    }
}
