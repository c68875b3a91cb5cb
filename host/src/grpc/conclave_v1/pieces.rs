//! Files as streams of small messages.

use futures::stream;
use tonic::codegen::BoxStream;

/// Bytes of a piece: far below what any client takes as one message.
const PIECE_BYTES: usize = 64 << 10;

/// A file in pieces, in order; an empty one has none. The next piece is made when HTTP/2 has room for
/// it.
pub(super) fn pieces<T: Send + 'static>(
    bytes: Vec<u8>,
    piece: impl Fn(Vec<u8>) -> T + Send + 'static,
) -> BoxStream<T> {
    Box::pin(stream::unfold(0, move |from| {
        let rest = bytes.get(from..).unwrap_or_default();
        let taken = &rest[..rest.len().min(PIECE_BYTES)];
        let next = (!taken.is_empty()).then(|| (Ok(piece(taken.to_vec())), from + taken.len()));
        std::future::ready(next)
    }))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn the_pieces_are_the_file_and_none_is_large() {
        for length in [0, 1, PIECE_BYTES, 3 * PIECE_BYTES + 7] {
            let file: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let pieces: Vec<_> = pieces(file.clone(), |piece| piece).collect().await;
            let pieces: Vec<Vec<u8>> = pieces.into_iter().map(Result::unwrap).collect();
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES));
            assert_eq!(pieces.concat(), file);
        }
    }
}
