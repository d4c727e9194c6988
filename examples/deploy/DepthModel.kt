// Depth of a camera frame on Android, with an int8 file of nasdepth that takes the camera's bytes.
// build.gradle: implementation "com.google.ai.edge.litert:litert:1.+", noCompress "tflite"
// A sketch to start from: it is not compiled by the project's tests.

import android.content.res.AssetFileDescriptor
import android.graphics.Bitmap
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import org.tensorflow.lite.Interpreter

class DepthModel(asset: AssetFileDescriptor, threads: Int = 4) : AutoCloseable {
    private val interpreter: Interpreter
    private val pixels = IntArray(WIDTH * HEIGHT)
    private val rgb = ByteBuffer.allocateDirect(WIDTH * HEIGHT * 3).order(ByteOrder.nativeOrder())
    private val depth = ByteBuffer.allocateDirect(WIDTH * HEIGHT * 4).order(ByteOrder.nativeOrder())

    init {
        val file = FileInputStream(asset.fileDescriptor).channel.map(
            FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.declaredLength,
        )
        // XNNPACK, which runs int8, is the default
        interpreter = Interpreter(file, Interpreter.Options().setNumThreads(threads))
    }

    /** Depth in millimetres, row by row, of a bitmap of 640x480. */
    fun depthMm(frame: Bitmap): FloatArray {
        frame.getPixels(pixels, 0, WIDTH, 0, 0, WIDTH, HEIGHT)
        rgb.rewind()
        for (pixel in pixels) {
            rgb.put((pixel shr 16).toByte()).put((pixel shr 8).toByte()).put(pixel.toByte())
        }
        rgb.rewind()
        depth.rewind()
        interpreter.run(rgb, depth)
        depth.rewind()
        return FloatArray(WIDTH * HEIGHT).also { depth.asFloatBuffer().get(it) }
    }

    override fun close() = interpreter.close()

    private companion object {
        const val WIDTH = 640
        const val HEIGHT = 480
    }
}
