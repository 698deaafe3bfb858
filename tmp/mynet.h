
#include <eml_net.h>
static const float mynet_layer_0_biases[8] = { 19.277788f, -12.589854f, 4.226244f, -3.628147f, 0.586567f, -0.120930f, 6.464650f, 1.270961f };
static const float mynet_layer_0_weights[96] = { 0.333332f, -0.168169f, -0.060676f, -0.039504f, -0.009463f, 0.000187f, 0.149794f, 0.104147f, -0.011671f, -0.110201f, 0.107314f, -0.009547f, 0.017308f, -0.001068f, -0.060187f, 0.007792f, -0.004553f, -0.011215f, 0.018807f, 0.011319f, 0.005776f, -0.000504f, -0.024319f, 0.023576f, -0.148910f, 0.224007f, -0.096748f, 0.050513f, -0.013805f, 0.004365f, -0.193830f, 0.009714f, -0.042903f, 0.170523f, -0.109052f, 0.024518f, -0.016441f, 0.002418f, 0.186147f, -0.081233f, -0.063328f, 0.019486f, 0.026180f, -0.003769f, 0.002406f, 0.000451f, -0.000859f, -0.053371f, -0.074126f, 0.025366f, 0.006395f, -0.006210f, 0.001946f, -0.000180f, -0.089183f, 0.000038f, 0.301338f, -0.160360f, -0.084257f, -0.049408f, -0.014279f, -0.002352f, 0.318916f, 0.039171f, 0.000000f, 0.000000f, 0.000000f, 0.000000f, 0.000000f, 0.000000f, 0.000000f, 0.000000f, -1.246650f, 0.094976f, 0.090222f, 0.050640f, 0.009726f, -0.006510f, -0.334888f, 0.065634f, 0.421700f, 1.414840f, -0.440173f, 0.120133f, -0.053217f, 0.009410f, -1.776695f, -0.564235f, 1.261579f, 0.178735f, -1.137863f, -0.024515f, -0.159803f, 0.016092f, 0.173666f, 0.674044f };
static const float mynet_layer_1_biases[1] = { -0.308294f };
static const float mynet_layer_1_weights[8] = { 3.193181f, -2.465302f, 1.516895f, -0.530584f, 0.233145f, -0.015064f, 2.744063f, 1.086834f };
static float mynet_buf1[12];
static float mynet_buf2[12];
static const EmlNetLayer mynet_layers[2] = { 
{ 8, 12, mynet_layer_0_weights, mynet_layer_0_biases, EmlNetActivationRelu }, 
{ 1, 8, mynet_layer_1_weights, mynet_layer_1_biases, EmlNetActivationLogistic } };
static EmlNet mynet = { 2, mynet_layers, mynet_buf1, mynet_buf2, 12 };

    int32_t
    mynet_predict(const float *features, int32_t n_features)
    {
        return eml_net_predict(&mynet, features, n_features);
    }
    

    int32_t
    mynet_regress(const float *features, int32_t n_features, float *out, int32_t out_length)
    {
        return eml_net_regress(&mynet, features, n_features, out, out_length);
    }
    

    float
    mynet_regress1(const float *features, int32_t n_features)
    {
        return eml_net_regress1(&mynet, features, n_features);
    }
    