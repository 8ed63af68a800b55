//! Rotations as configurations say them: `rope_parameters` since transformers 5, `rope_theta` and `rope_scaling` before.

use super::keys::Keys;
use attendant_core::{Error, Result};
use attendant_mech::Rotary;
use attendant_mech::rotary::{Pairs, Scaling, longrope_factor, mscale};

/// The base that transformers takes where none is said.
const BASE: f64 = 10_000.0;

/// What a configuration says about the rotation of one kind of layers.
pub(super) struct Rotation<'a> {
    /// Its own keys: the newer object, or the older `rope_scaling`.
    pub(super) keys: Keys<'a>,
    /// The base of the wavelengths.
    pub(super) base: f64,
    /// The share of a head that is rotated.
    share: f64,
    context: usize,
    original: Option<usize>,
}

static NOTHING: serde_json::Value = serde_json::Value::Null;

impl<'a> Rotation<'a> {
    /// That of all layers.
    pub(super) fn read(config: &Keys<'a>, context: usize) -> Result<Rotation<'a>> {
        Rotation::of(config, config.object("rope_parameters")?, "rope_theta|rotary_emb_base", context)
    }

    /// That of layers of one kind (`full_attention`, `sliding_attention`), whose base older files say under `older`, scaled only
    /// where `scaled`.
    pub(super) fn of_kind(config: &Keys<'a>, kind: &str, older: &str, scaled: bool, context: usize) -> Result<Rotation<'a>> {
        let newer = match config.object("rope_parameters")? {
            Some(kinds) => kinds.object(kind)?.or(Some(kinds)),
            None => None,
        };
        let mut rotation = Rotation::of(config, newer, older, context)?;
        if newer.is_none() && !scaled {
            rotation.keys = Keys::new(&NOTHING);
        }
        Ok(rotation)
    }

    fn of(config: &Keys<'a>, newer: Option<Keys<'a>>, older: &str, context: usize) -> Result<Rotation<'a>> {
        let keys = config.object("rope_scaling")?.or(newer).unwrap_or(Keys::new(&NOTHING));
        let share = match keys.number_if("partial_rotary_factor")? {
            Some(share) => share,
            None => config.number_or("partial_rotary_factor|rotary_pct|rope_pct", 1.0)?,
        };
        let base = match newer.unwrap_or(keys).number_if("rope_theta")? {
            Some(base) => base,
            None => config.number_or(older, BASE)?,
        };
        let original = config.size_if("original_max_position_embeddings")?;
        Ok(Rotation { keys, base, share, context, original })
    }

    /// The rotation of heads of `d_head`, the part of them that it rotates.
    pub(super) fn rotary(&self, d_head: usize, pairs: Pairs) -> Result<Rotary> {
        let share = self.share;
        let fits = share > 0.0 && share <= 1.0;
        self.keys.expect("partial_rotary_factor", fits, "a number above 0 and up to 1")?;
        self.of_width((d_head as f64 * share) as usize, pairs)
    }

    /// The rotation of `width` values.
    pub(super) fn of_width(&self, width: usize, pairs: Pairs) -> Result<Rotary> {
        Ok(Rotary { base: self.base, pairs, scaling: self.scaling()?, ..Rotary::new(width) })
    }

    fn original(&self) -> Result<usize> {
        self.keys.size_or("original_max_position_embeddings", self.original.unwrap_or(self.context))
    }

    /// How wavelengths are stretched.
    fn scaling(&self) -> Result<Scaling> {
        let keys = &self.keys;
        Ok(match keys.text("rope_type|type", "default")? {
            // Sections of a head turn by row, column and time of an image; in a text all three are the position.
            "default" | "mrope" => Scaling::None,
            "linear" => Scaling::Linear { factor: keys.number("factor")? },
            "dynamic" => Scaling::Dynamic { factor: keys.number("factor")?, original: self.original()? },
            "yarn" => self.yarn()?,
            "llama3" => Scaling::Llama3 {
                factor: keys.number("factor")?,
                low: keys.number("low_freq_factor")?,
                high: keys.number("high_freq_factor")?,
                original: self.original()?,
            },
            "longrope" | "su" => {
                let original = self.original()?;
                let factor = keys.number_or("factor", self.context as f64 / original as f64)?;
                Scaling::Longrope {
                    short: keys.numbers("short_factor")?,
                    long: keys.numbers("long_factor")?,
                    original,
                    attention_factor: keys.number_or("attention_factor", longrope_factor(factor, original))?,
                }
            }
            other => {
                let wanted = "wanted default, linear, dynamic, yarn, llama3 or longrope";
                return Err(Error::config("rope_type", format!("got {other:?}, {wanted}")));
            }
        })
    }

    fn yarn(&self) -> Result<Scaling> {
        let keys = &self.keys;
        let original = self.original()?;
        let factor = keys.number_or("factor", self.context as f64 / original as f64)?;
        let weights = [keys.number_or("mscale", 0.0)?, keys.number_or("mscale_all_dim", 0.0)?];
        let usual = match weights {
            [one, all] if one != 0.0 && all != 0.0 => mscale(factor, one) / mscale(factor, all),
            _ => mscale(factor, 1.0),
        };
        Ok(Scaling::Yarn {
            factor,
            original,
            beta_fast: keys.number_or("beta_fast", 32.0)?,
            beta_slow: keys.number_or("beta_slow", 1.0)?,
            truncate: keys.flag("truncate", true)?,
            attention_factor: keys.number_or("attention_factor", usual)?,
        })
    }

    /// What the scores of latent attention are multiplied by, beside `1 / sqrt(d)`: DeepSeek's square of the factor of all
    /// dimensions.
    pub(super) fn latent_factor(&self) -> Result<f64> {
        let (factor, all) = (self.keys.number_or("factor", 1.0)?, self.keys.number_or("mscale_all_dim", 0.0)?);
        let scaled = self.keys.text("rope_type|type", "default")? != "default" && all != 0.0;
        Ok(if scaled { mscale(factor, all).powi(2) } else { 1.0 })
    }
}
