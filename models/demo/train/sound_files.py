"""Reads and writes mono WAV files."""

import struct
import wave

import numpy as np


def read_pcm16(path):
    """([samples] float32, Hz)"""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(1 << 30), "<i2")
        return samples.astype(np.float32) / 32_768, file.getframerate()


def write_pcm16(path, pcm, sample_rate):
    """16 bits; [samples] with full scale 1."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes((np.clip(pcm, -1, 1) * 32_767).astype("<i2").tobytes())


def write_mu_law(path, pcm, sample_rate):
    """8 bits by ITU-T G.711; [samples] with full scale 1."""
    codes = mu_law(pcm).tobytes()
    form = struct.pack("<HHIIHHH", 7, 1, sample_rate, sample_rate, 1, 8, 0)
    padding = b"\0" * (len(codes) % 2)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(codes)) + codes + padding
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)


def mu_law(pcm):
    """Sign, 3 bits of exponent, 4 of mantissa, all inverted. [samples] uint8"""
    value = np.clip(np.round(pcm * 32_768), -32_635, 32_635).astype(np.int32)
    magnitude = np.abs(value) + 132
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 15
    return (~(np.where(value < 0, 0x80, 0) | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8)
