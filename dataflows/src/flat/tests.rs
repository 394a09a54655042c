//! Both codecs give back what they were given, from any address, and nothing else.

use proptest::prelude::*;

use super::*;

type Encode<const N: usize> = fn(&[[u64; N]]) -> Vec<u8>;
type Decode<const N: usize> = fn(&[u8]) -> Result<Vec<[u64; N]>, FlatError>;

/// The codecs of this build.
fn codecs<const N: usize>() -> Vec<(Encode<N>, Decode<N>)> {
    vec![
        (words::encode, words::decode),
        #[cfg(feature = "abomonation")]
        (abomonated::encode, abomonated::decode),
        (encode, decode),
    ]
}

/// Rows come back also where the block lies at an address that is no multiple of eight.
fn comes_back<const N: usize>(rows: &[[u64; N]], shift: usize) {
    for (encode, decode) in codecs::<N>() {
        let block = encode(rows);
        assert_eq!(block, encode(rows), "the same rows are the same bytes");
        let shifted = [vec![0; shift], block].concat();
        assert_eq!(decode(&shifted[shift..]).unwrap(), rows);
    }
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: if cfg!(miri) { 8 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn rows_come_back(
        ones: Vec<[u64; 1]>,
        threes: Vec<[u64; 3]>,
        eights in prop::collection::vec(any::<[u64; 8]>(), 0..40),
        shift in 0_usize..9,
    ) {
        comes_back(&ones, shift);
        comes_back(&threes, shift);
        comes_back(&eights, shift);
    }

    #[test]
    fn noise_is_no_rows(bytes: Vec<u8>) {
        for (encode, decode) in codecs::<3>() {
            prop_assert!(decode(&bytes).is_err());
            prop_assert!(decode(&[encode(&[])[..HEADER_BYTES].to_vec(), bytes.clone()].concat()).is_err() || bytes.is_empty());
        }
    }
}

#[test]
fn no_rows_come_back_too() {
    comes_back::<4>(&[], 1);
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    for (encode, decode) in codecs() {
        let mut block = encode(&[[1, u64::MAX], [0, 1 << 40]]);
        for bit in 0..block.len() * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&block).is_err(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(decode(&block).is_ok());
    }
}

#[test]
fn a_block_cut_off_or_lengthened_is_torn() {
    for (encode, decode) in codecs() {
        let block = encode(&[[1, 2], [3, 4]]);
        for length in 0..block.len() {
            let expected = if length < HEADER_BYTES { HEADER_BYTES } else { block.len() } as u64;
            assert_eq!(decode(&block[..length]), Err(FlatError::Torn { expected, found: length as u64 }));
        }
        let longer = [&block[..], &[0]].concat();
        let torn = FlatError::Torn { expected: block.len() as u64, found: longer.len() as u64 };
        assert_eq!(decode(&longer), Err(torn));
    }
}

/// A block with a head of these words in the place of its own, and a right checksum.
fn with_head(mut block: Vec<u8>, change: impl Fn(&mut [u64; 7])) -> Vec<u8> {
    let mut words: [u64; 7] = std::array::from_fn(|n| u64::from_le_bytes(block[n * 8..][..8].try_into().unwrap()));
    change(&mut words);
    let head: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    block[..HEADER_BYTES - 8].copy_from_slice(&head);
    block[HEADER_BYTES - 8..HEADER_BYTES].copy_from_slice(&xxh3_64(&head).to_le_bytes());
    block
}

#[test]
fn what_something_else_wrote_is_refused_with_its_reason() {
    for (encode, decode) in codecs::<2>() {
        let changed = |change: fn(&mut [u64; 7])| decode(&with_head(encode(&[[1, 2], [3, 4]]), change));
        assert_eq!(changed(|_| ()), Ok(vec![[1, 2], [3, 4]]));
        assert_eq!(changed(|head| head[0] += 1), Err(FlatError::Foreign));
        assert_eq!(changed(|head| head[1] = 2), Err(FlatError::Format { found: 2 }));
        assert_eq!(changed(|head| head[2] = 9), Err(FlatError::Codec { found: 9 }));
        assert_eq!(changed(|head| head[3] += 1), Err(FlatError::Build));
        assert_eq!(changed(|head| head[4] ^= 1), Err(FlatError::Layout));
        assert_eq!(changed(|head| head[5] = 3), Err(FlatError::Torn { expected: 112, found: 96 }));
        let endless = FlatError::Torn { expected: u64::MAX, found: 96 };
        assert_eq!(changed(|head| head[5] = u64::MAX), Err(endless), "no such memory is asked for");
        assert_eq!(changed(|head| head[6] += 1), Err(FlatError::Checksum));
    }
    assert_eq!(decode::<1>(&encode(&[[1, 2], [3, 4]])), Err(FlatError::Layout), "of another width");
}

#[cfg(feature = "abomonation")]
#[test]
fn neither_codec_reads_the_others() {
    let rows = [[1, 2], [3, 4]];
    let (safe, abomonated) = (words::encode(&rows), abomonated::encode(&rows));
    assert_eq!(words::decode::<2>(&abomonated), Err(FlatError::Codec { found: 2 }));
    let refused = abomonated::decode::<2>(&safe).unwrap_err();
    assert_eq!(refused.to_string(), "the rows were written with the safe codec, this build reads those of abomonation");
    assert_eq!(decode::<2>(&safe), Err(refused), "with the feature on it is abomonation's that are written and read");
}
