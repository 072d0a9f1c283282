/* See lightser_frontend.h. */
#include "lightser_frontend.h"

#include <math.h>
#include <string.h>

#include "lightser_tables.h"

#define HALF (LIGHTSER_FFT / 2)

/* A clip in the middle of silence, as many samples as the window has. */
typedef struct {
  const int16_t *samples;
  size_t n_samples;
  size_t before; /* zeros in front of it */
  float level;   /* amplitude that becomes 1 */
} clip;

#ifdef LIGHTSER_PER_MILLE
/* Put an amplitude into the place of the smallest one of a heap. */
static void replace_smallest(uint16_t *heap, size_t size, uint16_t amplitude) {
  size_t at = 0, child;
  while ((child = 2 * at + 1) < size) {
    if (child + 1 < size && heap[child + 1] < heap[child]) child++;
    if (amplitude <= heap[child]) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = amplitude;
}

/* An order statistic of the amplitudes, between two of them if it falls there. */
static float level_of(const int16_t *samples, size_t n_samples, uint16_t *heap) {
  const size_t last = n_samples - 1, thousandths = last * LIGHTSER_PER_MILLE;
  const size_t below = thousandths / 1000, size = last - below + 1;
  const float share = (float)(thousandths - below * 1000) / 1000.0f;
  float low, high;
  memset(heap, 0, size * sizeof *heap);
  for (size_t i = 0; i < n_samples; i++) {
    const uint16_t amplitude = (uint16_t)(samples[i] < 0 ? -(int32_t)samples[i] : samples[i]);
    if (amplitude > heap[0]) replace_smallest(heap, size, amplitude);
  }
  low = high = (float)heap[0] / 32768.0f;
  if (share > 0.0f && size > 1) {
    high = (float)(size > 2 && heap[2] < heap[1] ? heap[2] : heap[1]) / 32768.0f;
  }
  return low + share * (high - low);
}
#endif

static float sample(const clip *heard, size_t i) {
  float x;
  if (i < heard->before || i - heard->before >= heard->n_samples) return 0.0f;
  x = (float)heard->samples[i - heard->before] / 32768.0f;
#ifdef LIGHTSER_PER_MILLE
  x = x / (heard->level > 2.220446049250313e-16f ? heard->level : 2.220446049250313e-16f);
  x = x < -1.0f ? -1.0f : x > 1.0f ? 1.0f : x;
  x = rintf(x * 32768.0f); /* the published code stores its clips in 16 bits */
  x = (x > 32767.0f ? 32767.0f : x) / 32768.0f;
#endif
  return x;
}

/* The Fourier transform of HALF complex numbers, in place. */
static void transform(float *re, float *im) {
  for (size_t i = 1, j = 0; i < HALF; i++) {
    size_t bit = HALF >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j |= bit;
    if (i < j) {
      const float r = re[i], m = im[i];
      re[i] = re[j], im[i] = im[j];
      re[j] = r, im[j] = m;
    }
  }
  for (size_t span = 1; span < HALF; span *= 2) {
    const size_t step = HALF / span; /* in a table for twice as many points */
    for (size_t k = 0; k < span; k++) {
      const float c = cosines[k * step], s = sines[k * step];
      for (size_t i = k; i < HALF; i += 2 * span) {
        const float r = re[i + span] * c + im[i + span] * s;
        const float m = im[i + span] * c - re[i + span] * s;
        re[i + span] = re[i] - r, im[i + span] = im[i] - m;
        re[i] += r, im[i] += m;
      }
    }
  }
}

/* What the k-th bin of the real transform adds to its bands: power, or magnitude. */
static float bin(const float *re, const float *im, size_t k) {
  const size_t a = k % HALF, b = (HALF - k) % HALF;
  const float even_re = 0.5f * (re[a] + re[b]), even_im = 0.5f * (im[a] - im[b]);
  const float odd_re = 0.5f * (im[a] + im[b]), odd_im = 0.5f * (re[b] - re[a]);
  const float c = k < HALF ? cosines[k] : -1.0f, s = k < HALF ? sines[k] : 0.0f;
  const float r = even_re + c * odd_re + s * odd_im;
  const float m = even_im + c * odd_im - s * odd_re;
#ifdef LIGHTSER_PER_MILLE
  return sqrtf(r * r + m * m);
#else
  return r * r + m * m;
#endif
}

/* From the windowed samples in scratch->re (even) and ->im (odd) to scratch->bands. */
static void to_bands(lightser_scratch *scratch) {
  const float *weight = filter_weights;
  transform(scratch->re, scratch->im);
  for (size_t band = 0; band < LIGHTSER_MELS; band++) {
    const size_t first = filter_first[band], end = first + filter_bins[band];
    float sum = 0.0f;
    for (size_t k = first; k < end; k++) {
      sum += bin(scratch->re, scratch->im, k) * *weight++;
    }
    scratch->bands[band] = sum;
  }
}

/* Mel bands of a frame of a clip. */
static void clip_bands(const clip *heard, size_t frame, lightser_scratch *scratch) {
  const size_t start = frame * LIGHTSER_HOP;
  for (size_t i = 0; i < HALF; i++) {
    scratch->re[i] = sample(heard, start + 2 * i) * window[2 * i];
    scratch->im[i] = sample(heard, start + 2 * i + 1) * window[2 * i + 1];
  }
  to_bands(scratch);
}

/* From bands on the scale that the cosine transform is taken of to features. */
static void to_features(lightser_scratch *scratch) {
#ifdef LIGHTSER_DCT
  for (size_t k = 0; k < LIGHTSER_BANDS; k++) {
    float sum = 0.0f;
    for (size_t band = 0; band < LIGHTSER_MELS; band++) {
      sum += scratch->bands[band] * dct[k][band];
    }
#ifdef LIGHTSER_LIMIT
    sum = sum < -LIGHTSER_LIMIT ? -LIGHTSER_LIMIT : sum > LIGHTSER_LIMIT ? LIGHTSER_LIMIT : sum;
#endif
    scratch->features[k] = sum;
  }
#else
  memcpy(scratch->features, scratch->bands, sizeof scratch->features);
#endif
}

/* Hand a row on, in the form that was asked for. */
static void put(const lightser_scratch *scratch, size_t frame, float *as_float, int8_t *as_int8) {
  if (as_float != NULL) {
    memcpy(as_float + frame * LIGHTSER_BANDS, scratch->features, sizeof scratch->features);
  }
  if (as_int8 != NULL) {
    for (size_t k = 0; k < LIGHTSER_BANDS; k++) {
      const float q = rintf(scratch->features[k] * gain[k] + offset[k]);
      as_int8[frame * LIGHTSER_BANDS + k] = (int8_t)(q < -128.0f ? -128 : q > 127.0f ? 127 : q);
    }
  }
}

#ifdef LIGHTSER_RANGE_DB
static float decibels(float power) {
  return LIGHTSER_DECIBELS * logf(power < LIGHTSER_FLOOR ? LIGHTSER_FLOOR : power);
}

/* 1 for the loudest band of the window, 0 for what is LIGHTSER_RANGE_DB below it. */
static float relative(float db, float loudest) {
  const float below = db - loudest;
  return 1.0f + (below < -LIGHTSER_RANGE_DB ? -LIGHTSER_RANGE_DB : below) / LIGHTSER_RANGE_DB;
}
#endif

static int features_of(const int16_t *samples, size_t n_samples, lightser_scratch *scratch,
                       float *as_float, int8_t *as_int8) {
  clip heard = {samples, n_samples, 0, 1.0f};
  if (n_samples < 1 || n_samples > LIGHTSER_SAMPLES) return -1;
  heard.before = (LIGHTSER_SAMPLES - n_samples) / 2;
#ifdef LIGHTSER_RANGE_DB
  /* Twice over the clip: keeping all bands until the loudest is known would cost more memory. */
  float loudest = LIGHTSER_FLOOR;
  for (size_t frame = 0; frame < LIGHTSER_FRAMES; frame++) {
    clip_bands(&heard, frame, scratch);
    for (size_t band = 0; band < LIGHTSER_MELS; band++) {
      if (scratch->bands[band] > loudest) loudest = scratch->bands[band];
    }
  }
  loudest = decibels(loudest);
#else
  heard.level = level_of(samples, n_samples, scratch->loudest);
#endif
  for (size_t frame = 0; frame < LIGHTSER_FRAMES; frame++) {
    clip_bands(&heard, frame, scratch);
    for (size_t band = 0; band < LIGHTSER_MELS; band++) {
#ifdef LIGHTSER_RANGE_DB
      scratch->bands[band] = relative(decibels(scratch->bands[band]), loudest);
#else
      scratch->bands[band] = logf(scratch->bands[band] + LIGHTSER_LOG_OFFSET);
#endif
    }
    to_features(scratch);
    put(scratch, frame, as_float, as_int8);
  }
  return 0;
}

int lightser_features(const int16_t *samples, size_t n_samples, lightser_scratch *scratch,
                      float *features) {
  return features_of(samples, n_samples, scratch, features, NULL);
}

int lightser_features_int8(const int16_t *samples, size_t n_samples, lightser_scratch *scratch,
                           int8_t *features) {
  return features_of(samples, n_samples, scratch, NULL, features);
}

#ifdef LIGHTSER_RANGE_DB
void lightser_stream_reset(lightser_stream *stream) {
  const int16_t silence = (int16_t)lrintf(128.0f * decibels(0.0f));
  memset(stream->samples, 0, sizeof stream->samples);
  for (size_t frame = 0; frame < LIGHTSER_FRAMES; frame++) {
    for (size_t band = 0; band < LIGHTSER_MELS; band++) stream->decibels[frame][band] = silence;
  }
  stream->next = 0;
}

void lightser_stream_push(lightser_stream *stream, const int16_t *samples) {
  lightser_scratch *scratch = &stream->scratch;
  int16_t *row = stream->decibels[stream->next];
  memmove(stream->samples, stream->samples + LIGHTSER_HOP,
          (LIGHTSER_FFT - LIGHTSER_HOP) * sizeof *samples);
  memcpy(stream->samples + LIGHTSER_FFT - LIGHTSER_HOP, samples, LIGHTSER_HOP * sizeof *samples);
  for (size_t i = 0; i < HALF; i++) {
    scratch->re[i] = (float)stream->samples[2 * i] / 32768.0f * window[2 * i];
    scratch->im[i] = (float)stream->samples[2 * i + 1] / 32768.0f * window[2 * i + 1];
  }
  to_bands(scratch);
  for (size_t band = 0; band < LIGHTSER_MELS; band++) {
    row[band] = (int16_t)lrintf(128.0f * decibels(scratch->bands[band]));
  }
  stream->next = (stream->next + 1) % LIGHTSER_FRAMES;
}

static void stream_features(lightser_stream *stream, float *as_float, int8_t *as_int8) {
  lightser_scratch *scratch = &stream->scratch;
  int16_t loudest = INT16_MIN;
  for (size_t frame = 0; frame < LIGHTSER_FRAMES; frame++) {
    for (size_t band = 0; band < LIGHTSER_MELS; band++) {
      if (stream->decibels[frame][band] > loudest) loudest = stream->decibels[frame][band];
    }
  }
  for (size_t frame = 0; frame < LIGHTSER_FRAMES; frame++) {
    const int16_t *row = stream->decibels[(stream->next + frame) % LIGHTSER_FRAMES];
    for (size_t band = 0; band < LIGHTSER_MELS; band++) {
      scratch->bands[band] = relative((float)row[band] / 128.0f, (float)loudest / 128.0f);
    }
    to_features(scratch);
    put(scratch, frame, as_float, as_int8);
  }
}

void lightser_stream_features(lightser_stream *stream, float *features) {
  stream_features(stream, features, NULL);
}

void lightser_stream_int8(lightser_stream *stream, int8_t *features) {
  stream_features(stream, NULL, features);
}
#endif
