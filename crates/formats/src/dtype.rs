//! How the elements of a tensor are stored, in the words of both formats.

use std::fmt;

/// Declares [`Dtype`] from the facts: name, elements of a block, bytes of a block, and the number GGUF gives it, if it has one.
macro_rules! dtypes {
    ($($name:ident $elements:literal $bytes:literal $ggml:expr;)*) => {
        /// The type of a tensor's elements, under the name that its format gives it. Quantised types and those below a byte are
        /// stored in blocks: so many elements in so many bytes.
        #[allow(non_camel_case_types, reason = "the names are the formats'")]
        #[allow(missing_docs, reason = "the formats define them; a sentence here could only repeat the name")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Dtype { $($name,)* }

        impl Dtype {
            /// Every type that can be read.
            pub const ALL: &'static [Dtype] = &[$(Dtype::$name,)*];

            const fn facts(self) -> Facts {
                match self { $(Dtype::$name => Facts { name: stringify!($name), elements: $elements, bytes: $bytes, ggml: $ggml },)* }
            }
        }
    };
}

struct Facts {
    name: &'static str,
    elements: usize,
    bytes: usize,
    ggml: Option<u32>,
}

dtypes! {
    F64 1 8 Some(28);
    F32 1 4 Some(0);
    F16 1 2 Some(1);
    BF16 1 2 Some(30);
    I64 1 8 Some(27);
    I32 1 4 Some(26);
    I16 1 2 Some(25);
    I8 1 1 Some(24);
    U64 1 8 None;
    U32 1 4 None;
    U16 1 2 None;
    U8 1 1 None;
    BOOL 1 1 None;
    C64 1 8 None;
    F8_E4M3 1 1 None;
    F8_E5M2 1 1 None;
    F8_E8M0 1 1 None;
    F8_E4M3FNUZ 1 1 None;
    F8_E5M2FNUZ 1 1 None;
    F6_E2M3 4 3 None;
    F6_E3M2 4 3 None;
    F4 2 1 None;
    Q4_0 32 18 Some(2);
    Q4_1 32 20 Some(3);
    Q5_0 32 22 Some(6);
    Q5_1 32 24 Some(7);
    Q8_0 32 34 Some(8);
    Q8_1 32 36 Some(9);
    Q2_K 256 84 Some(10);
    Q3_K 256 110 Some(11);
    Q4_K 256 144 Some(12);
    Q5_K 256 176 Some(13);
    Q6_K 256 210 Some(14);
    Q8_K 256 292 Some(15);
    IQ2_XXS 256 66 Some(16);
    IQ2_XS 256 74 Some(17);
    IQ3_XXS 256 98 Some(18);
    IQ1_S 256 50 Some(19);
    IQ4_NL 32 18 Some(20);
    IQ3_S 256 110 Some(21);
    IQ2_S 256 82 Some(22);
    IQ4_XS 256 136 Some(23);
    IQ1_M 256 56 Some(29);
    TQ1_0 256 54 Some(34);
    TQ2_0 256 66 Some(35);
    MXFP4 32 17 Some(39);
    NVFP4 64 36 Some(40);
    Q1_0 128 18 Some(41);
    Q2_0 64 18 Some(42);
}

/// The types that GGUF has given up, by their numbers.
const WITHDRAWN: [(u32, &str); 8] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

impl Dtype {
    /// The name in the format.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// How many elements a block holds; 1 for plain types.
    pub const fn block_elements(self) -> usize {
        self.facts().elements
    }

    /// How many bytes a block takes; those of an element for plain types.
    pub const fn block_bytes(self) -> usize {
        self.facts().bytes
    }

    /// The number that GGUF gives it.
    pub const fn ggml(self) -> Option<u32> {
        self.facts().ggml
    }

    /// The type that GGUF gives this number.
    ///
    /// # Errors
    /// What the number was, if it is one of those withdrawn, or that it is none.
    pub fn from_ggml(number: u32) -> Result<Dtype, String> {
        let known = Dtype::ALL.iter().find(|dtype| dtype.ggml() == Some(number));
        known.copied().ok_or_else(|| match WITHDRAWN.iter().find(|(withdrawn, _)| *withdrawn == number) {
            Some((_, name)) => format!("wanted a type in use, got {number}, {name}, which GGUF has withdrawn"),
            None => format!("wanted a known type, got {number}"),
        })
    }

    /// The type of this name in safetensors. Types of GGUF alone are none of its own.
    pub fn from_safetensors(name: &str) -> Option<Dtype> {
        Dtype::ALL.iter().copied().find(|dtype| dtype.block_elements() <= 4 && dtype.name() == name)
    }

    /// The bytes of `elements` in a row; none if they are no whole number of blocks or too many to count.
    pub fn bytes(self, elements: usize) -> Option<usize> {
        let whole = elements.is_multiple_of(self.block_elements());
        whole.then(|| (elements / self.block_elements()).checked_mul(self.block_bytes())).flatten()
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_ggml_is_one_type_or_none() {
        let read: Vec<_> = (0..43).filter_map(|number| Dtype::from_ggml(number).ok()).collect();
        assert_eq!(read.len() + WITHDRAWN.len(), 43);
        for dtype in read {
            assert_eq!(Dtype::from_ggml(dtype.ggml().unwrap()), Ok(dtype));
        }
        assert_eq!(Dtype::from_ggml(33), Err("wanted a type in use, got 33, Q4_0_8_8, which GGUF has withdrawn".into()));
        assert_eq!(Dtype::from_ggml(43), Err("wanted a known type, got 43".into()));
    }

    #[test]
    fn names_of_safetensors_do_not_reach_types_of_gguf() {
        assert_eq!(Dtype::from_safetensors("F8_E4M3"), Some(Dtype::F8_E4M3));
        assert_eq!(Dtype::from_safetensors("Q4_0"), None);
        assert_eq!(Dtype::from_safetensors("f32"), None);
    }

    #[test]
    fn bytes_are_whole_blocks() {
        assert_eq!(Dtype::Q4_K.bytes(512), Some(288));
        assert_eq!(Dtype::Q4_K.bytes(576), None);
        assert_eq!(Dtype::F6_E2M3.bytes(8), Some(6));
        assert_eq!(Dtype::F4.bytes(3), None);
        assert_eq!(Dtype::F64.bytes(usize::MAX / 4), None);
    }
}
