// Records from the microphone or the camera into a file of the field, until somebody stops it or a limit does.
import { announce, clock } from "./words.js";

const MOST_SECONDS = 600;
const PIECE = 500; // milliseconds between two looks at how much there is
const MARGIN = 200_000; // bytes that may still come between two looks
const FORMATS = {
  audio: ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus", "audio/webm", "audio/wav"],
  video: ["video/webm;codecs=vp8,opus", "video/mp4", "video/webm"],
};
const ENDINGS = { webm: "webm", mp4: "mp4", ogg: "ogg", wav: "wav" };
const REFUSED = {
  NotAllowedError: "The browser does not let this page record. Allow it in the browser's settings for this site, or choose a file.",
  NotFoundError: { audio: "No microphone was found. Choose a file instead.", video: "No camera with a microphone was found. Choose a file instead." },
  NotReadableError: "The device is in use by another program. Close that, or choose a file.",
};

export function whyNot() {
  if (!window.isSecureContext) return "Recording needs https or localhost.";
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return "This browser cannot record.";
  return "";
}

function explain(error, kind) {
  const known = REFUSED[error.name] ?? "Recording did not start. Choose a file instead.";
  return typeof known === "string" ? known : known[kind];
}

function nameFor(type) {
  const now = new Date();
  const two = (number) => String(number).padStart(2, "0");
  const day = [now.getFullYear(), two(now.getMonth() + 1), two(now.getDate())].join("-");
  const ending = ENDINGS[type.split("/")[1]] ?? "bin";
  return `recording-${day}-${two(now.getHours())}${two(now.getMinutes())}.${ending}`;
}

// `room` says how many bytes may still be added. Returns whether it is recording now.
export function recorder(field, room) {
  const part = (name) => field.element.querySelector(`[data-${name}]`);
  const start = part("record");
  const panel = part("recorder");
  const row = part("upload-row");
  const view = part("recorder-view");
  let running = null;

  function show(on) {
    panel.hidden = !on;
    row.hidden = on;
  }

  async function begin() {
    if (start.ariaDisabled === "true" || running) return;
    start.ariaDisabled = "true"; // keeps the focus, unlike "disabled"
    field.refuse("");
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: field.kind === "video" });
      run(stream);
    } catch (error) {
      field.refuse(explain(error, field.kind));
    } finally {
      start.ariaDisabled = null;
    }
  }

  function run(stream) {
    const format = FORMATS[field.kind].find((one) => MediaRecorder.isTypeSupported(one));
    const media = new MediaRecorder(stream, format ? { mimeType: format } : {});
    const most = room() + field.files().reduce((sum, file) => sum + file.size, 0);
    running = { media, stream, pieces: [], bytes: 0, most, since: performance.now(), keep: true };
    media.addEventListener("dataavailable", (event) => collect(event.data));
    media.addEventListener("stop", finish);
    media.addEventListener("error", () => stop(false));
    media.start(PIECE);
    running.timer = setInterval(tick, 250);
    if (view) {
      view.srcObject = stream;
      view.play().catch(() => {});
    }
    tick();
    show(true);
    part("recorder-stop").focus();
    announce("Recording.");
  }

  function collect(piece) {
    if (!running || !piece.size) return;
    running.pieces.push(piece);
    running.bytes += piece.size;
    if (running.bytes + MARGIN >= running.most) stop(true, "It is as large as may be sent, so the recording was stopped.");
  }

  function tick() {
    const seconds = (performance.now() - running.since) / 1000;
    part("recorder-time").textContent = clock(seconds);
    if (seconds >= MOST_SECONDS) stop(true, "Ten minutes are the most, so the recording was stopped.");
  }

  function stop(keep, why = "") {
    if (!running || running.media.state === "inactive") return;
    running.keep = keep;
    running.why = why;
    running.media.stop();
  }

  function finish() {
    const { stream, pieces, keep, why, media, timer } = running;
    clearInterval(timer);
    stream.getTracks().forEach((track) => track.stop());
    if (view) view.srcObject = null;
    running = null;
    show(false);
    const type = media.mimeType.split(";")[0];
    if (keep && pieces.length) field.add([new File(pieces, nameFor(type), { type, lastModified: Date.now() })]);
    if (why) field.refuse(why);
    start.focus();
    announce(keep ? "Recording stopped. Listen to it before you send." : "Recording discarded.");
  }

  const obstacle = whyNot();
  start.hidden = Boolean(obstacle);
  const note = part("record-note");
  note.hidden = !obstacle;
  note.textContent = obstacle;
  start.addEventListener("click", begin);
  part("recorder-stop").addEventListener("click", () => stop(true));
  part("recorder-discard").addEventListener("click", () => stop(false));
  window.addEventListener("pagehide", () => stop(false));
  return { isRunning: () => running !== null, focus: () => part("recorder-stop").focus() };
}
