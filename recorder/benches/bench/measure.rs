//! Samples: taken in turns, summed up by their median.

use anyhow::Result;

/// The samples of a variant, round by round.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// Returns the middle sample, or the mean of both in the middle.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

/// Measures each variant once a round, so that changes of the machine's speed affect all of them.
pub(crate) fn interleaved<V>(
    rounds: usize,
    variants: &[V],
    mut measure: impl FnMut(&V) -> Result<f64>,
) -> Result<Vec<Samples>> {
    let mut samples: Vec<Samples> = variants.iter().map(|_| Samples::default()).collect();
    for _ in 0..rounds {
        for (variant, samples) in variants.iter().zip(&mut samples) {
            samples.push(measure(variant)?);
        }
    }
    Ok(samples)
}
