// The clock around the compiled core. Included after CXXRTL's output.
// The core is reached through its two byte streams and nothing else.

#include <cstddef>
#include <cstdint>
#include <deque>

namespace {

struct Device {
    cxxrtl_design::p_top core;
    std::deque<uint8_t> to_core;

    // One clock cycle. Returns the byte that left the core, or -1.
    // A design without combinational feedback (the build insists) needs one evaluation a cycle: it settles the logic before the
    // rising edge, where the streams are read, and computes the registers after it. The falling edge changes nothing.
    int cycle() {
        const bool offered = !to_core.empty();
        core.p_rx____valid.set<uint8_t>(offered);
        core.p_rx____payload.set<uint8_t>(offered ? to_core.front() : 0);
        core.p_clk.set<uint8_t>(1);
        core.eval();
        const int byte = core.p_tx____valid.get<uint8_t>() ? core.p_tx____payload.get<uint8_t>() : -1;
        if (offered && core.p_rx____ready.get<uint8_t>())
            to_core.pop_front();
        core.commit();
        core.p_clk.set<uint8_t>(0);
        core.prev_p_clk.set<uint8_t>(0);
        return byte;
    }
};

}

extern "C" {

Device *tritloom_open() {
    Device *device = new Device;
    device->core.p_tx____ready.set<uint8_t>(1);
    device->core.p_rst.set<uint8_t>(1);
    device->cycle();
    device->core.p_rst.set<uint8_t>(0);
    return device;
}

void tritloom_close(Device *device) { delete device; }

void tritloom_write(Device *device, const uint8_t *data, size_t size) {
    device->to_core.insert(device->to_core.end(), data, data + size);
}

// Bytes that the core has not taken.
size_t tritloom_backlog(const Device *device) { return device->to_core.size(); }

// Runs until a frame has ended, `capacity` bytes came out, or `cycles` went by. Returns the bytes written to `data`.
size_t tritloom_read(Device *device, uint8_t *data, size_t capacity, uint64_t cycles) {
    size_t size = 0;
    while (size < capacity && cycles--) {
        const int byte = device->cycle();
        if (byte < 0)
            continue;
        data[size++] = uint8_t(byte);
        if (byte == 0)
            break;
    }
    return size;
}

}
