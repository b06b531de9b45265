/** The settings of an output: a named profile, or one's own, and how a profile reads. */

import { h } from "./dom.js";

/**
 * @typedef {{codec: string, mode: string, quality: string, bitrate: string, preset: string, encoder: string, audio: string}} Own
 */

const CODECS = [
  ["h264", "H.264"],
  ["hevc", "HEVC"],
  ["av1", "AV1"],
  ["vp9", "VP9"],
  ["ffv1", "FFV1"],
];
const MODES = [
  ["quality", "Constant quality"],
  ["bitrate", "Bit rate"],
  ["lossless", "Lossless"],
];
const AUDIO = [
  ["copy", "Keep as it is"],
  ["aac", "AAC"],
  ["opus", "Opus"],
  ["none", "None"],
];

/** @returns {Own} */
export const ownDefaults = () => ({
  codec: "h264",
  mode: "quality",
  quality: "",
  bitrate: "4000",
  preset: "",
  encoder: "",
  audio: "copy",
});

/** What the API wants. @param {Own} own @returns {Record<string, any>} */
export function profileOf(own) {
  /** @type {Record<string, any>} */
  const rate = { mode: own.mode };
  if (own.mode === "quality" && own.quality !== "") rate.quality = Number(own.quality);
  if (own.mode === "bitrate") rate.target_bps = Math.round(Number(own.bitrate) * 1000);
  /** @type {Record<string, any>} */
  const profile = { codec: own.codec, rate, audio: own.audio };
  if (own.preset) profile.preset = own.preset;
  if (own.encoder) profile.encoder = own.encoder;
  return profile;
}

/** @param {Own} own @param {() => void} changed */
export function ownForm(own, changed) {
  const set = (/** @type {keyof Own} */ name) => (/** @type {any} */ event) => {
    own[name] = event.target.value;
    changed();
  };
  const choice = (
    /** @type {string} */ label,
    /** @type {keyof Own} */ name,
    /** @type {string[][]} */ values,
  ) =>
    h(
      "label",
      null,
      label,
      h(
        "select",
        { value: own[name], onchange: set(name) },
        values.map(([value, words]) => h("option", { value }, words)),
      ),
    );
  const text = (
    /** @type {string} */ label,
    /** @type {keyof Own} */ name,
    /** @type {any} */ props,
  ) => h("label", null, label, h("input", { value: own[name], onchange: set(name), ...props }));
  return h(
    "div",
    { class: "fields" },
    choice("Codec", "codec", CODECS),
    choice("Rate control", "mode", MODES),
    own.mode === "quality"
      ? text("Quality (lower is better)", "quality", {
          key: "quality",
          type: "number",
          step: "0.5",
          min: "0",
          max: "255",
          placeholder: "the encoder's default",
          title: "On the encoder's own scale",
        })
      : null,
    own.mode === "bitrate"
      ? text("Kilobits per second", "bitrate", {
          key: "bitrate",
          type: "number",
          min: "1",
          required: true,
        })
      : null,
    text("Preset", "preset", { placeholder: "its default", autocomplete: "off" }),
    text("Encoder", "encoder", { placeholder: "the best one there is", autocomplete: "off" }),
    choice("Audio", "audio", AUDIO),
  );
}

/** What a form calls a value. @param {string[][]} choices @param {string} value */
const wordsOf = (choices, value) => choices.find(([name]) => name === value)?.[1] ?? value;

/** @param {any} profile @returns {[string, any][]} */
export function profileFacts(profile) {
  const rate = profile.rate ?? profile;
  const mode = rate.mode ?? "";
  const target = rate.target_bps ? `${Math.round(rate.target_bps / 1000)} kbit/s` : "";
  const quality =
    mode === "quality"
      ? rate.quality === null || rate.quality === undefined
        ? "the encoder's default"
        : String(rate.quality)
      : "";
  return [
    ["Profile", profile.name],
    ["Codec", wordsOf(CODECS, profile.codec)],
    ["Rate control", wordsOf(MODES, mode)],
    ["Quality", quality],
    ["Bit rate", target],
    ["Preset", profile.preset],
    ["Pixel format", profile.pix_fmt],
    [
      "Filters",
      (profile.filters ?? []).map((/** @type {any} */ filter) => filter.name ?? filter).join(", "),
    ],
    ["Audio", wordsOf(AUDIO, profile.audio)],
    ["Subtitles", profile.subtitles],
  ];
}
