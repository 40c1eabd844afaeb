/** @module The symbol table of libturbojpeg: the functions of its 2.x interface, which 3.x still has. */

/** Pixel formats of `tjDecompress2` that are used here. */
export const TJPF_RGB = 0;

/** Colour space, as `tjDecompressHeader3` reports it: one channel. */
export const TJCS_GRAY = 2;
/** Colour space: four channels of ink. */
export const TJCS_CMYK = 3;
/** Colour space: four channels of ink, three of them as luminance and chrominance. */
export const TJCS_YCCK = 4;

/** Refuse progressive pictures of more than 500 scans, which cost minutes for a few kilobytes. */
export const TJFLAG_LIMITSCANS = 32768;

/** What `tjGetErrorCode` returns where the picture was decoded nevertheless. */
export const TJERR_WARNING = 0;

/** Prototypes of `turbojpeg.h`, in its order. @see https://libjpeg-turbo.org/Documentation/Documentation */
export const TURBOJPEG_SYMBOLS = {
  tjInitDecompress: {
    args: [],
    returns: "ptr", // tjhandle, NULL on failure
  },
  tjDecompressHeader3: {
    args: [
      "ptr", // tjhandle handle
      "ptr", // const unsigned char *jpegBuf
      "usize", // unsigned long jpegSize
      "ptr", // int *width
      "ptr", // int *height
      "ptr", // int *jpegSubsamp
      "ptr", // int *jpegColorspace
    ],
    returns: "i32", // 0, or -1
  },
  tjDecompress2: {
    args: [
      "ptr", // tjhandle handle
      "ptr", // const unsigned char *jpegBuf
      "usize", // unsigned long jpegSize
      "ptr", // unsigned char *dstBuf
      "i32", // int width: the wanted one, which chooses the scale
      "i32", // int pitch: bytes between two rows of dstBuf
      "i32", // int height
      "i32", // int pixelFormat: TJPF_…
      "i32", // int flags: TJFLAG_…
    ],
    returns: "i32", // 0, or -1
  },
  tjDestroy: {
    args: [
      "ptr", // tjhandle handle
    ],
    returns: "i32", // 0, or -1
  },
  tjGetErrorStr2: {
    args: [
      "ptr", // tjhandle handle, NULL for the thread's last error
    ],
    returns: "ptr", // char *, the library's own
  },
  tjGetErrorCode: {
    args: [
      "ptr", // tjhandle handle
    ],
    returns: "i32", // TJERR_WARNING or TJERR_FATAL
  },
} as const;
