// The clock around the compiled core while it is fed hostile bytes. Included after CXXRTL's output.
// As sim/harness.cpp, and it also stalls the core's output at random, runs until the core has come to rest, and notes which
// states the core's state machines were in: what a campaign is guided by.

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <deque>

namespace {

// State machines that are watched, in bits: commands 4, replies 4, packer 3, framer 2, and whether a job waits or runs.
constexpr unsigned STATE_BITS = 14;

struct Device {
    cxxrtl_design::p_top core;
    std::deque<uint8_t> to_core;
    std::bitset<1 << STATE_BITS> states;
    std::bitset<1 << 8> steps;      // of the command decoder: its state before and after
    unsigned last = 0;
    uint32_t random = 1;
    unsigned stall = 0;             // of 256 cycles, in how many the output is not taken

    // One clock cycle. Returns the byte that left the core, or -1.
    int cycle(bool &took) {
        random ^= random << 13, random ^= random >> 17, random ^= random << 5;
        const bool ready = (random & 255) >= stall;
        const bool offered = !to_core.empty();
        core.p_tx____ready.set<uint8_t>(ready);
        core.p_rx____valid.set<uint8_t>(offered);
        core.p_rx____payload.set<uint8_t>(offered ? to_core.front() : 0);
        core.p_clk.set<uint8_t>(1);
        core.eval();
        const int byte = ready && core.p_tx____valid.get<uint8_t>() ? core.p_tx____payload.get<uint8_t>() : -1;
        took = offered && core.p_rx____ready.get<uint8_t>();
        if (took)
            to_core.pop_front();
        core.commit();
        core.p_clk.set<uint8_t>(0);
        core.prev_p_clk.set<uint8_t>(0);
        const unsigned at = core.p_commands_2e_fsm__state.get<uint8_t>();
        states.set(at | core.p_replies_2e_fsm__state.get<uint8_t>() << 4 | core.p_packer_2e_fsm__state.get<uint8_t>() << 8
                   | core.p_framer_2e_fsm__state.get<uint8_t>() << 11 | core.p_working.get<uint8_t>() << 13);
        steps.set(last << 4 | at);
        last = at;
        return byte;
    }
};

}

extern "C" {

Device *fuzz_open() {
    Device *device = new Device;
    bool took;
    device->core.p_rst.set<uint8_t>(1);
    device->cycle(took);
    device->core.p_rst.set<uint8_t>(0);
    return device;
}

void fuzz_close(Device *device) { delete device; }

void fuzz_write(Device *device, const uint8_t *data, size_t size) {
    device->to_core.insert(device->to_core.end(), data, data + size);
}

void fuzz_stall(Device *device, unsigned stall) { device->stall = stall; }

// Runs for `cycles`, or, where `quiet` is not 0, until for `quiet` cycles no byte went in or out (for half of that where no job
// waits or runs). Stops early when `capacity` bytes have come out. Returns the bytes written to `data`; `resting` says whether it came to rest.
size_t fuzz_run(Device *device, uint8_t *data, size_t capacity, uint64_t cycles, uint64_t quiet, int *resting) {
    size_t size = 0;
    uint64_t silent = 0;
    *resting = 0;
    while (size < capacity && cycles--) {
        bool took;
        const int byte = device->cycle(took);
        silent = byte >= 0 || took ? 0 : silent + 1;
        if (byte >= 0)
            data[size++] = uint8_t(byte);
        if (quiet && device->to_core.empty() && silent >= (device->core.p_working.get<uint8_t>() ? quiet : quiet / 2)) {
            *resting = 1;
            break;
        }
    }
    return size;
}

// Bytes that the core has not taken.
size_t fuzz_waiting(Device *device) { return device->to_core.size(); }

// States and steps reached since the device was opened.
void fuzz_reached(Device *device, uint32_t *states, uint32_t *steps) {
    *states = device->states.count();
    *steps = device->steps.count();
}

}
