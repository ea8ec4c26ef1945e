//! Prints the slowest exchanges of a capture that match a filter.
//!
//! ```text
//! cargo run -p sslrec-analyzer --example slowest -- capture.pcapng 'status=200'
//! ```

use std::error::Error;

use sslrec_analyzer::Capture;
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::filter::Filter;

/// Number of exchanges shown.
const SHOWN: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: slowest FILE [FILTER]")?;
    let filter = arguments.next().map(|text| Filter::parse(&text)).transpose()?;

    let mut slowest = Vec::new();
    for item in Capture::open(path)?.items() {
        let item = item?;
        if filter.as_ref().is_some_and(|filter| !filter.matches(&item)) {
            continue;
        }
        if let Item::Exchange(exchange) = item
            && let Some(duration_ns) = exchange.duration_ns()
        {
            slowest.push((duration_ns, exchange));
            slowest.sort_by_key(|(duration_ns, _)| std::cmp::Reverse(*duration_ns));
            slowest.truncate(SHOWN);
        }
    }
    for (duration_ns, exchange) in slowest {
        let tls = exchange.connection.tls;
        let url = exchange.request.as_ref().and_then(|request| request.url(tls));
        println!("{:8.1} ms  {}", duration_ns as f64 / 1e6, url.as_deref().unwrap_or("-"));
    }
    Ok(())
}
