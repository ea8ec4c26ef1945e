//! Carries errors of the program through the library, whose sinks stop with an error of any type.

use std::error::Error;
use std::fmt;

use sslrec_analyzer::input::{Failure, Flow, Stop};

/// An error of the program as a standard error: `anyhow::Error` does not implement the trait.
#[derive(Debug)]
struct Carried(anyhow::Error);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Carried {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Stops reading with an error.
pub(crate) fn fail(error: impl Into<anyhow::Error>) -> Stop {
    Stop::Failed(Box::new(Carried(error.into())))
}

/// Stops reading with the error of `result`; continues if there is none.
pub(crate) fn of(result: anyhow::Result<()>) -> Flow {
    match result {
        Ok(()) => Flow::Continue(()),
        Err(error) => Flow::Break(fail(error)),
    }
}

/// Returns the error that a sink stopped with, unchanged.
pub(crate) fn error(failure: Failure) -> anyhow::Error {
    match failure.downcast::<Carried>() {
        Ok(carried) => carried.0,
        Err(other) => anyhow::Error::from_boxed(other),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context;

    use super::*;

    #[test]
    fn an_error_is_carried_unchanged() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let Flow::Break(stop) = of(Err(full).context("cannot write")) else {
            panic!("an error does not stop the reading");
        };
        let error = error(stop.into_result().unwrap_err());
        assert_eq!(error.to_string(), "cannot write");
        let cause = error.root_cause().downcast_ref::<io::Error>();
        assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::StorageFull));
        assert!(of(Ok(())).is_continue());
    }
}
