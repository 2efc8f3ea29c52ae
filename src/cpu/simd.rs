//! What vectors of the processor at hand compute, beyond their own instructions.
//!
//! [`pulp`] finds the widest vectors at run time (AVX-512, AVX2, NEON, or none) and offers their
//! instructions as safe functions.

use std::sync::OnceLock;

use pulp::{Arch, Simd};

/// The widest vectors of the processor, or those that the variable `GATEFOLD_VECTORS` names: `scalar`, or
/// `avx2` where there are wider ones.
pub(crate) fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(|| match std::env::var("GATEFOLD_VECTORS").as_deref() {
        Ok("scalar") => Arch::Scalar,
        #[cfg(target_arch = "x86_64")]
        Ok("avx2") => pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
        _ => Arch::new(),
    })
}

/// What they are called.
pub(crate) fn name() -> &'static str {
    match arch() {
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => "AVX2",
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => "AVX-512",
        #[cfg(target_arch = "aarch64")]
        Arch::Neon(_) => "NEON",
        _ => "no vectors",
    }
}

/// `then` where a mask is set, else `other`. The method of that name isn't always inlined, and a call of it costs as
/// much as an exponential.
#[inline(always)]
pub(crate) fn select<S: Simd>(simd: S, mask: S::m32s, then: S::f32s, other: S::f32s) -> S::f32s {
    let (then, other): (S::u32s, S::u32s) = (bytemuck::cast(then), bytemuck::cast(other));
    bytemuck::cast(simd.select_u32s(mask, then, other))
}

/// `exp(x) - 1`, within 2e-7 of its value also where that is small. Beyond -87 and 88 it no longer
/// changes; NaN stays NaN.
///
/// `x = n ln 2 + r` with `|r| <= ln(2) / 2`; the polynomial is Taylor's of degree 7, which is wrong by
/// `r^8 / 8! < 5.2e-9`, and `exp(x) - 1 = 2^n (exp(r) - 1) + (2^n - 1)`.
#[inline(always)]
pub(crate) fn exp_minus_1<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // Comparisons with NaN are false; minima and maxima would lose it on some processors.
    let (low, high) = (simd.splat_f32s(-87.0), simd.splat_f32s(88.0));
    let x = select(simd, simd.less_than_f32s(x, low), low, x);
    let x = select(simd, simd.greater_than_f32s(x, high), high, x);
    // The sum's last bits are those of the nearest whole number.
    let rounder = simd.splat_f32s(1.5 * (1 << 23) as f32);
    let rounded = simd.mul_add_f32s(x, simd.splat_f32s(std::f32::consts::LOG2_E), rounder);
    let n = simd.sub_f32s(rounded, rounder);
    // ln 2 in two parts, the first with so few bits that its product with n is exact.
    let r = simd.mul_add_f32s(n, simd.splat_f32s(-0.693_359_4), x);
    let r = simd.mul_add_f32s(n, simd.splat_f32s(2.121_944_4e-4), r);
    let mut sum = simd.splat_f32s(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 1.0 / 2.0] {
        sum = simd.mul_add_f32s(sum, r, simd.splat_f32s(coefficient));
    }
    let small = simd.mul_add_f32s(simd.mul_f32s(sum, r), r, r);
    let exponent =
        simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(23));
    let power = simd.add_u32s(exponent, simd.splat_u32s(1.0f32.to_bits()));
    let power = simd.transmute_f32s_u32s(power);
    simd.mul_add_f32s(power, small, simd.sub_f32s(power, simd.splat_f32s(1.0)))
}

/// `1 / (1 + exp(-x))`, within 2e-7 of its value.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let e = exp_minus_1(simd, simd.neg_f32s(x));
    simd.div_f32s(simd.splat_f32s(1.0), simd.add_f32s(e, simd.splat_f32s(2.0)))
}

/// `tanh(x) = e / (e + 2)` with `e = exp(2x) - 1`, within 2e-7 of its value.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let e = exp_minus_1(simd, simd.add_f32s(x, x));
    simd.div_f32s(e, simd.add_f32s(e, simd.splat_f32s(2.0)))
}

/// [`philox`](crate::reference::philox) of a counter a lane.
#[inline(always)]
pub(crate) fn philox<S: Simd>(simd: S, counter: [S::u32s; 4], key: [u32; 2]) -> [S::u32s; 4] {
    let ([mut a, mut b, mut c, mut d], mut key) = (counter, key);
    let multipliers = [simd.splat_u32s(0xD251_1F53), simd.splat_u32s(0xCD9E_8D57)];
    for _ in 0..10 {
        let (low_0, high_0) = simd.widening_mul_u32s(multipliers[0], a);
        let (low_1, high_1) = simd.widening_mul_u32s(multipliers[1], c);
        let (one, other) = (simd.splat_u32s(key[0]), simd.splat_u32s(key[1]));
        a = simd.xor_u32s(simd.xor_u32s(high_1, b), one);
        c = simd.xor_u32s(simd.xor_u32s(high_0, d), other);
        (b, d) = (low_1, low_0);
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    [a, b, c, d]
}

/// `first`, and 1 more in every lane.
#[inline(always)]
pub(crate) fn counting<S: Simd>(simd: S, first: u32) -> S::u32s {
    let mut lanes = simd.splat_u32s(first);
    let each = bytemuck::cast_slice_mut::<S::u32s, u32>(std::slice::from_mut(&mut lanes));
    for (n, lane) in (0u32..).zip(each) {
        *lane = first.wrapping_add(n);
    }
    lanes
}

/// Vectors of quads, `(i, f, g, o)` one after the other, as a vector a field.
#[inline(always)]
pub(crate) fn by_field<S: Simd>(simd: S, quads: [S::f32s; 4]) -> [S::f32s; 4] {
    #[cfg(target_arch = "x86_64")]
    if let Some(turned) = x86::turn(simd, quads, true) {
        return turned;
    }
    let mut turned = quads;
    let (from, to) = (bytemuck::cast_slice(&quads), bytemuck::cast_slice_mut(&mut turned));
    for quad in 0..S::F32_LANES {
        for field in 0..4 {
            let value: f32 = from[4 * quad + field];
            to[field * S::F32_LANES + quad] = value;
        }
    }
    turned
}

/// A vector a field as vectors of quads.
#[inline(always)]
pub(crate) fn by_quad<S: Simd>(simd: S, fields: [S::f32s; 4]) -> [S::f32s; 4] {
    #[cfg(target_arch = "x86_64")]
    if let Some(turned) = x86::turn(simd, fields, false) {
        return turned;
    }
    let mut turned = fields;
    let (from, to) = (bytemuck::cast_slice(&fields), bytemuck::cast_slice_mut(&mut turned));
    for quad in 0..S::F32_LANES {
        for field in 0..4 {
            let value: f32 = from[field * S::F32_LANES + quad];
            to[4 * quad + field] = value;
        }
    }
    turned
}

/// The first elements of a slice, zeros behind its end.
#[inline(always)]
pub(crate) fn load<S: Simd>(simd: S, from: &[f32]) -> S::f32s {
    match S::as_simd_f32s(from).0.first() {
        Some(&whole) => whole,
        None => simd.partial_load_f32s(from),
    }
}

/// Writes to the first elements of a slice, up to its end.
#[inline(always)]
pub(crate) fn store<S: Simd>(simd: S, to: &mut [f32], value: S::f32s) {
    if to.len() < S::F32_LANES {
        return simd.partial_store_f32s(to, value);
    }
    S::as_mut_simd_f32s(to).0[0] = value;
}

/// The turning of quads by shuffles. A quad is 128 bits, so blocks of 128 bits are put in their places,
/// and then every block takes one element of each of four.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::any::Any;
    use std::arch::x86_64::{__m256, __m512};

    use bytemuck::cast;
    use pulp::Simd;
    use pulp::x86::{V3, V4};

    /// The same value, where both types are the same: known when this is compiled.
    #[inline(always)]
    fn same<A: Copy + 'static, B: Copy + 'static>(value: A) -> Option<B> {
        (&value as &dyn Any).downcast_ref::<B>().copied()
    }

    #[inline(always)]
    pub(super) fn turn<S: Simd>(simd: S, v: [S::f32s; 4], quads: bool) -> Option<[S::f32s; 4]> {
        if let Some(simd) = same::<S, V4>(simd) {
            let v: [__m512; 4] = [cast(v[0]), cast(v[1]), cast(v[2]), cast(v[3])];
            let turned = match quads {
                true => lanes_512(simd, blocks_512(simd, v)),
                false => blocks_512(simd, lanes_512(simd, v)),
            };
            let [a, b, c, d] = turned;
            return Some([cast(a), cast(b), cast(c), cast(d)]);
        }
        if let Some(simd) = same::<S, V3>(simd) {
            let v: [__m256; 4] = [cast(v[0]), cast(v[1]), cast(v[2]), cast(v[3])];
            let turned = match quads {
                true => lanes_256(simd, from_blocks_256(simd, v)),
                false => to_blocks_256(simd, lanes_256(simd, v)),
            };
            let [a, b, c, d] = turned;
            return Some([cast(a), cast(b), cast(c), cast(d)]);
        }
        None
    }

    /// Block `m` of vector `j` becomes block `j` of vector `m`.
    #[inline(always)]
    fn blocks_512(simd: V4, [a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
        let s = simd.avx512f;
        let (ab, cd) = (s._mm512_shuffle_f32x4::<0x44>(a, b), s._mm512_shuffle_f32x4::<0x44>(c, d));
        let (ab_high, cd_high) =
            (s._mm512_shuffle_f32x4::<0xee>(a, b), s._mm512_shuffle_f32x4::<0xee>(c, d));
        [
            s._mm512_shuffle_f32x4::<0x88>(ab, cd),
            s._mm512_shuffle_f32x4::<0xdd>(ab, cd),
            s._mm512_shuffle_f32x4::<0x88>(ab_high, cd_high),
            s._mm512_shuffle_f32x4::<0xdd>(ab_high, cd_high),
        ]
    }

    /// Element `m` of a block of vector `j` becomes element `j` of that block of vector `m`.
    #[inline(always)]
    fn lanes_512(simd: V4, [a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
        let s = simd.avx512f;
        let ab = s._mm512_castps_pd(s._mm512_unpacklo_ps(a, b));
        let cd = s._mm512_castps_pd(s._mm512_unpacklo_ps(c, d));
        let ab_high = s._mm512_castps_pd(s._mm512_unpackhi_ps(a, b));
        let cd_high = s._mm512_castps_pd(s._mm512_unpackhi_ps(c, d));
        [
            s._mm512_castpd_ps(s._mm512_unpacklo_pd(ab, cd)),
            s._mm512_castpd_ps(s._mm512_unpackhi_pd(ab, cd)),
            s._mm512_castpd_ps(s._mm512_unpacklo_pd(ab_high, cd_high)),
            s._mm512_castpd_ps(s._mm512_unpackhi_pd(ab_high, cd_high)),
        ]
    }

    /// Units m and 4 + m, of which vector `j` holds 2j and 2j + 1, side by side.
    #[inline(always)]
    fn from_blocks_256(simd: V3, [a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
        let s = simd.avx;
        [
            s._mm256_permute2f128_ps::<0x20>(a, c),
            s._mm256_permute2f128_ps::<0x31>(a, c),
            s._mm256_permute2f128_ps::<0x20>(b, d),
            s._mm256_permute2f128_ps::<0x31>(b, d),
        ]
    }

    /// The way back.
    #[inline(always)]
    fn to_blocks_256(simd: V3, [a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
        let s = simd.avx;
        [
            s._mm256_permute2f128_ps::<0x20>(a, b),
            s._mm256_permute2f128_ps::<0x20>(c, d),
            s._mm256_permute2f128_ps::<0x31>(a, b),
            s._mm256_permute2f128_ps::<0x31>(c, d),
        ]
    }

    /// As [`lanes_512`].
    #[inline(always)]
    fn lanes_256(simd: V3, [a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
        let s = simd.avx;
        let ab = s._mm256_castps_pd(s._mm256_unpacklo_ps(a, b));
        let cd = s._mm256_castps_pd(s._mm256_unpacklo_ps(c, d));
        let ab_high = s._mm256_castps_pd(s._mm256_unpackhi_ps(a, b));
        let cd_high = s._mm256_castps_pd(s._mm256_unpackhi_ps(c, d));
        [
            s._mm256_castpd_ps(s._mm256_unpacklo_pd(ab, cd)),
            s._mm256_castpd_ps(s._mm256_unpackhi_pd(ab, cd)),
            s._mm256_castpd_ps(s._mm256_unpacklo_pd(ab_high, cd_high)),
            s._mm256_castpd_ps(s._mm256_unpackhi_pd(ab_high, cd_high)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use pulp::{Simd, WithSimd};

    use super::*;

    /// Sigmoid, tanh, and quads turned and turned back, of 64 numbers.
    struct All<'a>(&'a [f32; 64]);

    impl WithSimd for All<'_> {
        type Output = [Vec<f32>; 4];

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let mut out: [Vec<f32>; 4] = std::array::from_fn(|_| vec![0.0; 64]);
            for at in (0..64).step_by(S::F32_LANES) {
                let x = load(simd, &self.0[at..]);
                store(simd, &mut out[0][at..], sigmoid(simd, x));
                store(simd, &mut out[1][at..], tanh(simd, x));
            }
            for at in (0..64).step_by(4 * S::F32_LANES) {
                let lanes = |i: usize| at + i * S::F32_LANES;
                let quads = std::array::from_fn(|i| load(simd, &self.0[lanes(i)..]));
                let fields = by_field(simd, quads);
                for (i, (field, quad)) in fields.into_iter().zip(by_quad(simd, fields)).enumerate()
                {
                    store(simd, &mut out[2][lanes(i)..], field);
                    store(simd, &mut out[3][lanes(i)..], quad);
                }
            }
            out
        }
    }

    /// What every kind of vectors that this processor has makes of them, with its lanes.
    fn everywhere(x: &[f32; 64]) -> Vec<(usize, [Vec<f32>; 4])> {
        let mut all = vec![(1, pulp::Scalar::new().vectorize(All(x)))];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(pulp::x86::V3::try_new().map(|simd| (8, Simd::vectorize(simd, All(x)))));
            all.extend(pulp::x86::V4::try_new().map(|simd| (16, Simd::vectorize(simd, All(x)))));
        }
        all
    }

    #[test]
    fn activations_are_within_their_bounds() {
        for scale in [1e-30f32, 1e-6, 1e-3, 0.1, 1.0, 8.0, 20.0, 86.0] {
            let x = std::array::from_fn(|i| (i as f32 - 31.7) / 32.0 * scale);
            for (lanes, [sigmoids, tanhs, ..]) in everywhere(&x) {
                for (i, &x) in x.iter().enumerate() {
                    let x = f64::from(x);
                    for (got, want) in
                        [(sigmoids[i], 1.0 / (1.0 + (-x).exp())), (tanhs[i], x.tanh())]
                    {
                        let error = (f64::from(got) - want).abs() / want.abs();
                        assert!(error < 2e-7, "{lanes} lanes at {x}: {got} for {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn activations_at_the_edges() {
        let mut x = [0.0f32; 64];
        x[..7].copy_from_slice(&[
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            1e30,
            -1e30,
            -0.0,
            f32::MIN_POSITIVE,
        ]);
        for (_, [sigmoids, tanhs, ..]) in everywhere(&x) {
            assert!(sigmoids[0].is_nan() && tanhs[0].is_nan());
            assert_eq!([sigmoids[1], tanhs[1], sigmoids[3], tanhs[3]], [1.0; 4]);
            assert_eq!([tanhs[2], tanhs[4]], [-1.0; 2]);
            assert!(sigmoids[2] < 1e-37 && sigmoids[2] >= 0.0);
            assert_eq!([sigmoids[5], sigmoids[6]], [0.5; 2]);
            assert_eq!([tanhs[5], tanhs[6]], [0.0, f32::MIN_POSITIVE]);
        }
    }

    #[test]
    fn quads_turn_and_turn_back() {
        let x = std::array::from_fn(|i| i as f32);
        for (lanes, [.., fields, restored]) in everywhere(&x) {
            assert_eq!(restored, x);
            for (at, &value) in fields.iter().enumerate() {
                let (group, at) = (at / (4 * lanes), at % (4 * lanes));
                let (field, quad) = (at / lanes, group * lanes + at % lanes);
                assert_eq!(value, (4 * quad + field) as f32, "{lanes} lanes");
            }
        }
    }
}
