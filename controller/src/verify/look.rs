//! One look at ranges of tables on both sides.

use flytt_proto::{failure::Failure, v1};

use super::sides::{Side, Sides};

/// What one look at a range saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    source: v1::Digest,
    target: v1::Digest,
    /// The source again, after the target; only asked for when the two differ.
    after: v1::Digest,
}

impl Look {
    pub(super) fn is_equal(&self) -> bool {
        self.target == self.source || self.target == self.after
    }

    /// The source did not change meanwhile.
    pub(super) fn is_still(&self) -> bool {
        self.source == self.after
    }

    /// (source, target)
    pub(super) fn rows(&self) -> (u64, u64) {
        (self.after.rows, self.target.rows)
    }
}

/// Looks at pieces of one database: the source, then the target once it has applied what the source has, then, where they differ,
/// the source again.
pub(super) async fn look(sides: &dyn Sides, form: v1::Form, pieces: &[v1::Piece]) -> Result<Vec<Result<Look, Failure>>, Failure> {
    let source = sides.digests(Side::Source, form, pieces).await?;
    sides.settle().await?;
    let target = sides.digests(Side::Target, form, pieces).await?;
    let differs = |(source, target): (&Result<v1::Digest, Failure>, &Result<v1::Digest, Failure>)| match (source, target) {
        (Ok(source), Ok(target)) => source != target,
        (Err(_), _) | (_, Err(_)) => false,
    };
    let which: Vec<usize> = source.iter().zip(&target).enumerate().filter(|(_, pair)| differs(*pair)).map(|(at, _)| at).collect();
    let again: Vec<v1::Piece> = which.iter().map(|at| pieces[*at].clone()).collect();
    let mut again = match again.is_empty() {
        true => Vec::new(),
        false => sides.digests(Side::Source, form, &again).await?,
    }
    .into_iter();
    let mut which = which.into_iter().peekable();
    let mut looks = Vec::new();
    for (at, (source, target)) in source.into_iter().zip(target).enumerate() {
        let after = if which.next_if_eq(&at).is_some() { again.next() } else { None };
        looks.push(match (source, target, after.transpose()) {
            (Ok(source), Ok(target), Ok(after)) => Ok(Look { after: after.unwrap_or_else(|| source.clone()), source, target }),
            (Err(failure), ..) | (_, Err(failure), _) | (.., Err(failure)) => Err(failure),
        });
    }
    Ok(looks)
}
