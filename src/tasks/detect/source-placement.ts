/** @module Source placement: where a region lies in the input, counted in pixels of the picture's file. */

import type { Region } from "../../image/geometry.ts";
import type { DecodedImage } from "../../image/picture-decoder.ts";
import type { SlotPicture } from "../../pipeline/backend.ts";

/**
 * The region that maps boxes to the picture as it was before it was shrunk while decoding; the same object for one
 * that was not.
 */
export function sourcePlacement(image: SlotPicture | DecodedImage, region: Region): Region {
  if (!("sourceWidth" in image) || (image.sourceWidth === image.width && image.sourceHeight === image.height)) {
    return region;
  }
  const { sourceWidth, sourceHeight } = image;
  return {
    ...region,
    sourceWidth,
    sourceHeight,
    x: (region.x * sourceWidth) / region.sourceWidth,
    y: (region.y * sourceHeight) / region.sourceHeight,
    width: (region.width * sourceWidth) / region.sourceWidth,
    height: (region.height * sourceHeight) / region.sourceHeight,
    scaleX: (region.scaleX * region.sourceWidth) / sourceWidth,
    scaleY: (region.scaleY * region.sourceHeight) / sourceHeight,
  };
}
