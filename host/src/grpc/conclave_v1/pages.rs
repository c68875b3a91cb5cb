//! Pages of lists, after AIP-158.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conclave_core::entry::digest_of;

use crate::grpc::status::Refusal;

/// Items of a page when the client does not say.
const SIZE_DEFAULT: usize = 50;

/// More than this a client never gets in one page, whatever it asks for.
const SIZE_MAX: usize = 1_000;

/// Bytes of the items of a page: gRPC's own libraries take messages of 4 MiB. The first item is
/// answered however large it is.
const BYTES_MAX: usize = 3 << 20;

/// Bytes of a token: a place, and a mark of the list that it is of.
const TOKEN_BYTES: usize = 16;

/// How many items a page shall have.
pub(super) fn size(page_size: i32) -> Result<usize, Refusal> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(SIZE_DEFAULT),
        Ok(size) => Ok(size.min(SIZE_MAX)),
        Err(_) => {
            let message = format!("page_size is {page_size}, it must not be negative");
            Err(Refusal::field("page_size", message))
        }
    }
}

/// A list, as far as a token is bound to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct List([u8; 8]);

impl List {
    /// The list that is told from others by these parts: its method, whose it is, its filter.
    pub(super) fn of(parts: &[&str]) -> Self {
        let digest = digest_of(parts).to_string();
        let mut mark = [0; 8];
        mark.copy_from_slice(&digest.as_bytes()[..8]);
        Self(mark)
    }

    /// The token of the page behind this place.
    pub(super) fn token(self, place: u64) -> String {
        let mut token = [0; TOKEN_BYTES];
        token[..8].copy_from_slice(&place.to_be_bytes());
        token[8..].copy_from_slice(&self.0);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The place behind which the page begins; `None` for the first.
    pub(super) fn place(self, page_token: &str) -> Result<Option<u64>, Refusal> {
        if page_token.is_empty() {
            return Ok(None);
        }
        let wrong = |message: &str| Refusal::field("page_token", message);
        let bytes = URL_SAFE_NO_PAD.decode(page_token).ok();
        let bytes = bytes.and_then(|bytes| <[u8; TOKEN_BYTES]>::try_from(bytes).ok());
        let bytes =
            bytes.ok_or_else(|| wrong("page_token is not one that this method answered"))?;
        let (place, mark) = bytes.split_at(8);
        if mark != self.0 {
            return Err(wrong(
                "page_token is of another list; repeat the request that it came with, or leave it out to begin again",
            ));
        }
        let place = place.try_into().expect("it has eight bytes");
        Ok(Some(u64::from_be_bytes(place)))
    }
}

/// Whether an item of so many bytes still fits behind `bytes`; they are added then.
pub(super) fn fits(bytes: &mut usize, item: &impl prost::Message) -> bool {
    let first = *bytes == 0;
    *bytes += item.encoded_len();
    first || *bytes <= BYTES_MAX
}

/// The page of `size` items whose numbers are above the token's, of all of them in the order of their
/// numbers, and the token of the next one.
pub(super) fn page<T, M: prost::Message>(
    list: List,
    page_size: i32,
    page_token: &str,
    all: impl IntoIterator<Item = T>,
    number: impl Fn(&T) -> u32,
    message: impl Fn(T) -> M,
) -> Result<(Vec<M>, String), Refusal> {
    let size = size(page_size)?;
    let after = list.place(page_token)?;
    let mut items = Vec::new();
    let mut bytes = 0;
    let mut last = 0;
    for one in all {
        let place = u64::from(number(&one));
        if after.is_some_and(|after| place <= after) {
            continue;
        }
        let item = message(one);
        if items.len() == size || !fits(&mut bytes, &item) {
            return Ok((items, list.token(last)));
        }
        items.push(item);
        last = place;
    }
    Ok((items, String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_on_in_its_own_list_only() {
        let list = List::of(&["list", "tenant", "state = FAILED"]);
        for place in [0, 1, 77, u64::MAX] {
            let token = list.token(place);
            assert_eq!(list.place(&token).unwrap(), Some(place));
            assert!(!token.contains(['+', '/', '=']), "{token}");
        }
        assert_eq!(list.place("").unwrap(), None);
        for other in [
            List::of(&["list", "tenant", "state = RUNNING"]),
            List::of(&["list", "other", "state = FAILED"]),
            List::of(&["list", "tenantstate = FAILED", ""]),
        ] {
            assert!(other.place(&list.token(1)).is_err());
        }
        for wrong in [
            "x",
            "!",
            &list.token(1)[1..],
            &format!("{}A", list.token(1)),
        ] {
            assert!(list.place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_has_a_size_that_is_bounded() {
        assert_eq!(
            [0, 1, 1_000, 1_001, i32::MAX].map(|asked| size(asked).unwrap()),
            [50, 1, 1_000, 1_000, 1_000]
        );
        assert!(size(-1).is_err());
    }

    #[test]
    fn pages_hold_each_item_once_and_stop_at_their_bytes() {
        let list = List::of(&[]);
        let large = "x".repeat(2 << 20);
        let pages = |page_size| {
            let (mut seen, mut sizes, mut token) = (Vec::new(), Vec::new(), String::new());
            loop {
                let (items, next) = page(
                    list,
                    page_size,
                    &token,
                    1..=5_u32,
                    |one| *one,
                    |one| match one {
                        2 | 3 => large.clone(),
                        _ => one.to_string(),
                    },
                )
                .unwrap();
                sizes.push(items.len());
                seen.extend(items);
                if next.is_empty() {
                    return (seen.len(), sizes);
                }
                token = next;
            }
        };
        assert_eq!(pages(2), (5, vec![2, 2, 1]));
        assert_eq!(pages(0), (5, vec![2, 3]));
    }
}
